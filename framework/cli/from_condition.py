"""`edit.py from-sketch` and `edit.py from-label`: pictures drawn from either."""

from shlex import quote

from framework.cli.terminal import Terminal, listed
from framework.jobs.requests.translation import FromLabelRequest, FromSketchRequest


def from_sketch(request: FromSketchRequest, terminal: Terminal, json: bool = False) -> None:
    """Draw pictures from a sketch.

    Writes OUT/picture0.png and so on, input.png, the sketch as the model sees it, and sheet.png;
    of a StyleGAN2 also latents.safetensors, from which edit and drag continue. With a text the
    sketch decides the shape, and the text changes what it names.

    Examples::

      python edit.py from-sketch car.png --model toycars64 --encoder ENCODER --n 8 --out out/cars
      python edit.py from-sketch car.png --model toycars64 --encoder ENCODER --text "red" --out o
      python edit.py from-sketch car.png --model runs/pix2pix/network-000036 --out out/translated

    Args:
        json: End with one line of JSON: method, size, seconds, notes, text, missed, files, file,
            model.
    """
    _draw(request, terminal, json)


def from_label(request: FromLabelRequest, terminal: Terminal, json: bool = False) -> None:
    """Draw pictures from a map of labels.

    Writes OUT/picture0.png and so on, input.png, the labels as colours, and sheet.png; of a
    StyleGAN2 also latents.safetensors, from which edit and drag continue. With a text the labels
    decide the shape, and the text changes what it names.

    Examples::

      python edit.py from-label parts.png --model runs/spade/network-000014 --n 8 --out out/cars
      python edit.py from-label parts.png --model MODEL --text "a red car" --out out/red
      python edit.py from-label parts.png --model MODEL --style car.png --out out/styled

    Args:
        json: End with one line of JSON: method, size, seconds, notes, text, missed, files, file,
            model.
    """
    _draw(request, terminal, json)


def _draw(request: FromSketchRequest | FromLabelRequest, terminal: Terminal, json: bool) -> None:
    from framework.jobs.from_condition import draw

    outcome = draw(request, terminal)
    terminal.say(listed(outcome.files))
    if outcome.file is not None:
        model, image = quote(outcome.model), quote(str(outcome.file))
        terminal.say(
            f"try: python edit.py edit --model {model} --image {image} --pick 0 --style-seed 3"
            " --layers colour --out out/mixed"
        )
    if json:
        terminal.json(outcome.to_dict())
