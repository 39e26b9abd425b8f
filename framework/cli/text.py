"""`edit.py text`: pictures that a text describes."""

from shlex import quote
from statistics import fmean

from framework.cli.terminal import Terminal, listed
from framework.jobs.requests.text import TextRequest


def text(request: TextRequest, terminal: Terminal, json: bool = False) -> None:
    """Make pictures that a text describes, or change one until it is what a text says.

    Without a picture, those of N seeds are changed. With a photograph (it is inverted first), an
    inverted image, latents or an edit, that one is. What the text does not name is kept.

    Writes OUT/seed0000.png, ..., grid.png with the pictures before above, and latents.safetensors;
    of one picture OUT/picture.png, before.png, side_by_side.png, of a photograph pasted.png, and
    the latents (of a photograph NAME.inv.safetensors). A drag, or the next text, continues there.

    Examples::

      python edit.py text "a red car with big wheels" --model toycars64 --out out/red
      python edit.py text "a van under a golden sky" --model toycars64 --n 8 --seed 20 --out out/van
      python edit.py text "a yellow car" --model toycars64 --image car.jpg --out out/yellow
      python edit.py text "facing left" --image out/yellow --out out/left
      python edit.py text "a crimson car" --model vehicles64 --clip ViT-B-32.safetensors --out out/x

    Args:
        json: End with one line of JSON: text, layers, missed, missed_before, files, file, model,
            inversion.
    """
    from framework.jobs.text import text

    outcome = text(request, terminal)
    terminal.say(listed(outcome.files))
    if request.clip is None:
        touched = ", ".join(f"{layer} ({share:.0%})" for layer, share in outcome.layers.items())
        terminal.say(f"the text decides of the layers: {touched or 'none'}")
    else:
        was, now = (1 - fmean(missed) for missed in (outcome.missed_before, outcome.missed))
        terminal.say(f"CLIP's cosine of picture and text: {was:.3f} before, {now:.3f} now")
    model = (
        "" if outcome.file.name.endswith(".inv.safetensors") else f" --model {quote(outcome.model)}"
    )
    pick = " --pick 0" if len(outcome.missed) > 1 else ""
    terminal.say(
        f"try: python edit.py drag{model} --image {quote(str(outcome.file))}{pick}"
        ' --points "X,Y:X,Y" --out out/dragged'
    )
    if json:
        terminal.json(outcome.to_dict())
