"""`edit.py studio`: the page on which points are dragged with the pointer."""

from framework.cli.terminal import Terminal
from framework.errors import UserError
from framework.studio.request import StudioRequest


def studio(request: StudioRequest, terminal: Terminal) -> None:
    """Drag with the pointer, on a page in the browser.

    The page is served by this machine to this machine alone, and nothing of it comes from anywhere
    else. Ctrl-C ends it. It needs pip install 'dragline[studio]'.

    Examples::

      python edit.py studio
      python edit.py studio --model out/cars/model --port 0 --open
    """
    try:
        from framework.studio.server import Server
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("starlette", "uvicorn", "websockets"):
            raise
        raise UserError(
            f"the studio needs {error.name}: install it with pip install 'dragline[studio]'"
        ) from None

    Server(
        request, lambda address: terminal.say(f"the studio is at {address}  (Ctrl-C ends it)")
    ).run()
