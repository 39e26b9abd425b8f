"""`edit.py texture`: more of a texture."""

from framework.cli.terminal import Terminal
from framework.jobs.requests.compositing import TextureRequest


def texture(request: TextureRequest, terminal: Terminal, json: bool = False) -> None:
    """Make more of a texture from an exemplar.

    Writes OUT/texture.png. Ctrl-C keeps the best so far.

    Examples::

      python edit.py texture bricks.png --size 512x512 --out out/bricks
      python edit.py texture grass.jpg --method field --out out/grass

    Args:
        json: End with one line of JSON: method, size, status, steps, seconds, files.
    """
    from framework.jobs.texture import texture as carry_out

    terminal.composite(carry_out(request, terminal), json)
