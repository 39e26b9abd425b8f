"""`edit.py directions`: directions along which a model's pictures change."""

from shlex import quote

from framework.cli.terminal import Terminal, listed
from framework.jobs.requests.control import DirectionsRequest


def directions(request: DirectionsRequest, terminal: Terminal, json: bool = False) -> None:
    """Find directions in a model's latents.

    Without labels: principal components of w (pca0, …) and the weights of each group of layers
    (sefa0, sefa-pose0, …). With: a linear probe of attributes that are measured on the model's
    pictures (brightness, …), or of any that you give by seed. Writes OUT/directions.safetensors,
    which generate and edit take (and find by themselves in the model's folder),
    OUT/directions.json, and OUT/directions.png: rows are directions, columns -3 to 3 deviations.

    Examples::

      python edit.py directions --model toycars64 --out out/directions
      python edit.py directions --model toycars64 --attributes marks.csv --out out/mine
      python edit.py directions --model cats.pt --methods sefa --factor factor.pt --out out/cats

    Args:
        json: End with one line of JSON: directions, files.
    """
    from framework.jobs.directions import directions

    outcome = directions(request, terminal)
    names = list(outcome.directions.table)
    terminal.say(f"{len(names)} directions: {', '.join(names)}")
    terminal.say(listed(outcome.files))
    terminal.say(
        f"try: python edit.py generate --model {quote(request.model)} --seeds 1-8 --grid"
        f" --direction {names[0]}=2 --directions {quote(str(outcome.file))} --out out/moved"
    )
    if json:
        terminal.json(outcome.to_dict())
    if outcome.stop is not None:
        raise outcome.stop
