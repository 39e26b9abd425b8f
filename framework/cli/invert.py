"""`edit.py invert`: photographs to latents."""

from shlex import quote

from framework.cli.terminal import Terminal, listed
from framework.errors import UserError
from framework.jobs.outcomes import InvertBatchOutcome
from framework.jobs.requests.invert import InvertRequest


def invert(request: InvertRequest, terminal: Terminal, json: bool = False) -> None:
    """Put photographs into a model: find what makes it draw them.

    Three stages, each of which goes on from the one before: embed looks once with the model's
    encoder, refine moves the latents, tune changes the weights a little. The model itself stays as
    it is. Writes into OUT: NAME.inv.safetensors (which drag takes as --image), photo.png (what the
    model sees of the photograph), embed.png, refine.png and tune.png, side_by_side.png, pasted.png
    (the reconstruction in its place in the photograph), original.* (a copy of the photograph) and
    stats.jsonl. Ctrl-C keeps the best so far.

    Examples::

      python edit.py invert car.jpg --model vehicles64 --out out/car
      python edit.py invert car.jpg --model vehicles64 --box "120,40,620,540" --out out/part
      python edit.py invert car.jpg --model vehicles64 --align "120,300:420,260" --out out/level
      python edit.py invert photos/ car.png --model vehicles64 --stages embed,refine --out out/many

    Args:
        json: End with one line of JSON: photo, strangeness, familiar, perceptual, stages,
            usual_deviations, seconds, files.
    """
    from framework.jobs.invert import invert

    outcome = invert(request, terminal)
    if not isinstance(outcome, InvertBatchOutcome):
        terminal.done("", outcome)
        terminal.say(listed(outcome.files))
        image = quote(str(outcome.file))
        terminal.say(
            f'try: python edit.py drag --image {image} --points "X,Y:X,Y" --out out/dragged'
        )
    if json:
        terminal.json(outcome.to_dict())
    if outcome.stop is not None:
        raise outcome.stop
    if isinstance(outcome, InvertBatchOutcome) and outcome.failed:
        failed = ", ".join(outcome.failed)
        raise UserError(f"{len(outcome.failed)} of {outcome.count} photographs failed: {failed}")
