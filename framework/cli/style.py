"""`edit.py style`: a photograph in the manner of another picture."""

from framework.cli.terminal import Terminal
from framework.jobs.requests.compositing import StyleRequest


def style(request: StyleRequest, terminal: Terminal, json: bool = False) -> None:
    """Give a photograph the manner of another picture: its colours, strokes and textures.

    Writes OUT/styled.png, in the photograph's own size, depth and transparency, and
    OUT/side_by_side.png. Ctrl-C keeps the best so far. Needs the extra `features`.

    Examples::

      python edit.py style photo.jpg --style painting.jpg --out out/painted
      python edit.py style photo.jpg --style evening.jpg --method photo --out out/evening
      python edit.py style photo.jpg --style painting.jpg --strength 0.5 --out out/half

    Args:
        json: End with one line of JSON: method, size, status, steps, seconds, files.
    """
    from framework.jobs.style import style as carry_out

    terminal.composite(carry_out(request, terminal), json)
