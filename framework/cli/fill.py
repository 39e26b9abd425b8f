"""`edit.py fill`: a hole in a photograph, filled from the rest of it."""

from framework.cli.terminal import Terminal
from framework.jobs.requests.compositing import FillRequest


def fill(request: FillRequest, terminal: Terminal, json: bool = False) -> None:
    """Fill what a mask covers, from the rest of the photograph.

    Writes OUT/filled.png, the photograph in its own depth and colours with nothing changed outside
    the mask, and OUT/side_by_side.png. Ctrl-C keeps the best so far.

    Examples::

      python edit.py fill photo.jpg --mask mask.png --out out/filled
      python edit.py fill photo.jpg --mask mask.png --method patches --out out/agreed
      python edit.py fill car.png --mask mask.png --method gan --model toycars64 --out out/made-up

    Args:
        json: End with one line of JSON: method, size, status, steps, seconds, files.
    """
    from framework.jobs.fill import fill as carry_out

    terminal.composite(carry_out(request, terminal), json)
