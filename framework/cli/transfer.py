"""`edit.py transfer`: a photograph in the texture, or in the manner, of another picture."""

from framework.cli.terminal import Terminal
from framework.jobs.requests.compositing import TransferRequest


def transfer(request: TransferRequest, terminal: Terminal, json: bool = False) -> None:
    """Draw a photograph with the texture of another picture, or as that one was drawn.

    Writes OUT/transfer.png and OUT/side_by_side.png. Ctrl-C keeps the best so far. Photographs of
    more than 1024 px are worked on at that size.

    Examples::

      python edit.py transfer photo.jpg --texture bricks.png --out out/of-bricks
      python edit.py transfer photo.jpg --texture drawn.png --before plain.png --out out/drawn

    Args:
        json: End with one line of JSON: method, size, status, steps, seconds, files.
    """
    from framework.jobs.texture import transfer as carry_out

    terminal.composite(carry_out(request, terminal), json)
