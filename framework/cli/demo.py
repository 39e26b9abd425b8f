"""`edit.py demo`: a drag to look at, with nothing to fill in."""

from framework.cli.terminal import Terminal
from framework.jobs.requests.files import DemoRequest


def demo(request: DemoRequest, terminal: Terminal) -> None:
    """Drag a car of a shipped model and say where the pictures and the video are.

    OUT gets a number if it already holds something, so that it can be run again and again.

    Examples::

      python edit.py demo
      python edit.py demo --out out/first --device cpu
    """
    from framework.jobs.demo import demo

    pictures = demo(request, terminal)
    terminal.say("\nlook at:")
    for picture in pictures:
        terminal.say(f"  {picture}")
