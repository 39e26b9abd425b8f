"""`edit.py edit`: a picture moved along directions, or with another's layers."""

from shlex import quote

from framework.cli.terminal import Terminal, listed
from framework.jobs.requests.control import EditRequest


def edit(request: EditRequest, terminal: Terminal, json: bool = False) -> None:
    """Change a picture along directions, or by another picture's layers.

    The picture is that of a seed, latents, an inverted image, an edit, or a photograph, which is
    inverted first. Writes OUT/picture.png, before.png, side_by_side.png, of a photograph
    pasted.png, and the latents (of a photograph NAME.inv.safetensors) from which drag continues.

    FOUND is what directions wrote; a model folder may carry it.

    Examples::

      python edit.py edit --model toycars64 --seed 8 --direction pca0=2 --directions FOUND --out o
      python edit.py edit --image out/car --direction red@shape=2 --directions FOUND --out out/red
      python edit.py edit --model toycars64 --seed 8 --style-seed 3 --layers pose --out out/mixed
      python edit.py edit --model cats --seed 8 --style-seed 3 --layers 2,5 --variants 7 --out o

    Args:
        json: End with one line of JSON: moves, layers, files, file, model, inversion.
    """
    from framework.jobs.edit import edit

    outcome = edit(request, terminal)
    terminal.say(listed(outcome.files))
    image = quote(str(outcome.file))
    model = (
        "" if outcome.file.name.endswith(".inv.safetensors") else f" --model {quote(outcome.model)}"
    )
    terminal.say(
        f'try: python edit.py drag{model} --image {image} --points "X,Y:X,Y" --out out/dragged'
    )
    if json:
        terminal.json(outcome.to_dict())
