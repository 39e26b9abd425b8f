"""The server: the page, its WebSocket, downloads. Everything that computes is the worker's."""

import asyncio
import contextlib
import ipaddress
import logging
import socket
import tempfile
import time
import webbrowser
from collections.abc import AsyncIterator, Callable
from importlib import resources
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from framework.errors import UserError
from framework.jobs.models import pick_device
from framework.media.images import png_bytes
from framework.studio import messages
from framework.studio.connections import Connections
from framework.studio.faults import in_a_line
from framework.studio.forms import presets, settings_form
from framework.studio.messages import BadMessage, Note, read_command, to_text
from framework.studio.models import Models
from framework.studio.request import StudioRequest
from framework.studio.security import Guard, new_token
from framework.studio.session import Session
from framework.studio.sessions import Full, Sessions
from framework.studio.worker import Worker

SEND_SEC = 20.0  # a page that takes nothing for so long is gone
ASK_SEC = 120.0
MAX_PER_SEC = 1000  # messages of one page
MAX_BAD = 20  # messages that are none, until the connection ends
MAX_CONNECTIONS = 100
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


class Studio:
    """The application behind the guard.

    Args:
        models: The models that pages may choose.
        most_sessions: Pages that may work at the same time.
    """

    def __init__(self, models: Models, most_sessions: int = 8) -> None:
        self.sessions = Sessions(models, most_sessions)
        self.worker = Worker(self.sessions)
        self._files = _static_files()
        self._device = str(pick_device(models.device))

    def app(self, host: str, port: int, token: str | None = None) -> Starlette:
        """Return the guarded application for a server at an address."""
        names = [socket.gethostname()] if token is not None else []
        return Starlette(
            routes=[
                Route("/", self._index),
                Route("/static/{name}", self._static),
                Route("/health", self._health),
                Route("/description.json", self._description),
                Route("/sessions/{session}/picture.png", self._picture),
                Route("/sessions/{session}/before.png", self._before),
                Route("/sessions/{session}/edit.safetensors", self._edit),
                WebSocketRoute("/ws", self._speak),
            ],
            middleware=[Middleware(Guard, host=host, port=port, token=token, names=names)],
            lifespan=self._lifespan,
        )

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        self.worker.start()
        try:
            yield
        finally:
            self.worker.close()

    # ------------------------------------------------------------------------------ answers

    async def _index(self, _: Request) -> Response:
        return self._file("index.html")

    async def _static(self, request: Request) -> Response:
        return self._file(request.path_params["name"])

    def _file(self, name: str) -> Response:
        """Return a file of the page; all are in memory, so that no name is a path."""
        if name not in self._files:
            return _nothing()
        content, kind = self._files[name]
        return Response(content, media_type=kind, headers={"Cache-Control": "no-cache"})

    async def _health(self, _: Request) -> Response:
        return JSONResponse({"ok": True})

    async def _description(self, _: Request) -> Response:
        return JSONResponse({
            "messages": messages.describe(), "settings": settings_form(), "presets": presets(),
        })  # fmt: skip

    async def _picture(self, request: Request) -> Response:
        return await self._asked(
            request, lambda session: png_bytes(session.picture()), "image/png", "picture.png"
        )

    async def _before(self, request: Request) -> Response:
        return await self._asked(
            request, lambda session: png_bytes(session.before()), "image/png", "before.png"
        )

    async def _edit(self, request: Request) -> Response:
        return await self._asked(
            request, lambda session: _saved(session.edit()), "application/octet-stream",
            "edit.safetensors",
        )  # fmt: skip

    async def _asked(
        self, request: Request, what: Callable[[Session], bytes], kind: str, name: str
    ) -> Response:
        """Return what a session's own thread answers, as a download."""
        session = self.sessions.get(request.path_params["session"])
        if session is None:
            return _nothing()
        future = session.ask(lambda: what(session))
        self.worker.wake()
        try:
            content = await asyncio.wait_for(asyncio.wrap_future(future), ASK_SEC)
        except UserError as error:
            return JSONResponse({"error": str(error), "field": error.field}, 400)
        except TimeoutError:
            return JSONResponse({"error": "this takes too long"}, 503)
        except Exception as error:
            return JSONResponse({"error": in_a_line(error)}, 500)
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(content, media_type=kind, headers=headers)

    # ---------------------------------------------------------------------------- WebSocket

    async def _speak(self, socket: WebSocket) -> None:
        """Serve one page: what it says goes to its session, what that shows goes to the page."""
        try:
            session = self.sessions.join(socket.query_params.get("session"))
        except Full:
            await socket.send_denial_response(JSONResponse({"error": "too many pages"}, 429))
            return
        await socket.accept()
        wake = asyncio.Event()
        wake.set()
        session.outbox.connect(asyncio.get_running_loop(), wake)
        hello = messages.Hello(
            session.id, self.sessions.models.names, self.sessions.models.first, self._device
        )
        try:
            await socket.send_text(to_text(hello))
            self.worker.wake()
            # Neither waits for the other for ever: whichever ends takes the other with it.
            tasks = [
                asyncio.create_task(self._listen(socket, session)),
                asyncio.create_task(_send_all(socket, session, wake)),
            ]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            session.leave()
            self.worker.wake()

    async def _listen(self, socket: WebSocket, session: Session) -> None:
        """Pass on a page's commands; a page that floods or talks nonsense is hung up on."""
        bad, count, since_sec = 0, 0, time.monotonic()
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            while bad < MAX_BAD and count <= MAX_PER_SEC:
                message = await socket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                now_sec = time.monotonic()
                count = 1 if now_sec - since_sec > 1 else count + 1
                since_sec = now_sec if count == 1 else since_sec
                text = message.get("text")
                if text is None:
                    await socket.close(1003)
                    return
                try:
                    if len(text) > messages.MAX_MESSAGE_BYTES:
                        raise BadMessage("a message is too long")
                    session.put(read_command(text))
                except BadMessage as error:
                    bad += 1
                    session.outbox.tell(Note(str(error)))
                self.worker.wake()
            await socket.close(1008)


async def _send_all(socket: WebSocket, session: Session, wake: asyncio.Event) -> None:
    """Send whatever waits, whenever something does."""
    with contextlib.suppress(WebSocketDisconnect, RuntimeError, TimeoutError):
        while True:
            await wake.wait()
            wake.clear()
            for message in session.outbox.take():
                async with asyncio.timeout(SEND_SEC):
                    if isinstance(message, str):
                        await socket.send_text(message)
                    else:
                        await socket.send_bytes(message)


class Server(uvicorn.Server):
    """The page's server, listening from the start and answering from `run` on.

    Args:
        request: The request.
        ready: Called with the page's address when it can be opened.

    Raises:
        UserError: If the address cannot be listened on, or there is no such model or device.
    """

    def __init__(self, request: StudioRequest, ready: Callable[[str], Any]) -> None:
        models = Models(request.model, request.models, request.device)
        if models.first is not None:
            models.open(models.first)  # what is wrong with it shows now
        token = None if request.is_local else new_token()
        self.listener = _listening(request)
        port = self.listener.getsockname()[1]
        self.studio = Studio(models, request.sessions)
        self.address = _address(request.host, port, token)
        self._ready, self._opens = ready, request.open
        super().__init__(
            uvicorn.Config(
                self.studio.app(request.host, port, token), http=Connections,
                log_level="warning", access_log=False, server_header=False, date_header=False,
                ws="websockets-sansio", ws_max_size=messages.MAX_MESSAGE_BYTES, ws_max_queue=64,
                ws_per_message_deflate=False, limit_concurrency=MAX_CONNECTIONS,
                timeout_keep_alive=10, timeout_graceful_shutdown=2,
            )
        )  # fmt: skip

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer until somebody ends it: Ctrl-C, SIGTERM, or `should_exit`."""
        with self.listener:
            super().run(sockets=[self.listener])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say where the page is, once it is there."""
        await super().startup(sockets)
        if self.started:
            self._ready(self.address)
            if self._opens:
                webbrowser.open(self.address)


def _listening(request: StudioRequest) -> socket.socket:
    """Return a socket on the address, so that port 0 has a number before anything else."""
    try:
        is_six = ipaddress.ip_address(request.host).version == 6
    except ValueError:
        is_six = False
    try:
        return socket.create_server(
            (request.host, request.port), family=socket.AF_INET6 if is_six else socket.AF_INET
        )
    except (UnicodeError, TypeError):
        raise UserError(f"{request.host}: not an address", "host") from None
    except OSError as error:
        raise UserError(
            f"{request.port}: cannot listen on {request.host} there"
            f" ({error.strerror or error}); give another, or 0 for a free one",
            "port",
        ) from None


def _address(host: str, port: int, token: str | None) -> str:
    """Return the page's address as a person opens it."""
    name = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(host, host)
    name = f"[{name}]" if ":" in name else name
    return f"http://{name}:{port}/" + (f"?token={token}" if token else "")


def _static_files() -> dict[str, tuple[bytes, str]]:
    """Read the page's files into memory."""
    folder = resources.files("framework.studio") / "static"
    return {
        file.name: (file.read_bytes(), _TYPES[Path(file.name).suffix])
        for file in folder.iterdir()
        if Path(file.name).suffix in _TYPES
    }


def _saved(edit: Any) -> bytes:
    """Return an edit as its file's bytes."""
    with tempfile.TemporaryDirectory(prefix="dragline-") as folder:
        file = Path(folder) / "edit.safetensors"
        edit.save(file)
        return file.read_bytes()


def _nothing() -> Response:
    return JSONResponse({"error": "there is nothing here"}, 404)


# What strangers cause is no news, and neither is an answer in place of a handshake.
_NO_NEWS = ("Invalid HTTP request", "without completing handshake", "concurrency limit")
logging.getLogger("uvicorn.error").addFilter(
    lambda record: not any(words in record.getMessage() for words in _NO_NEWS)
)
