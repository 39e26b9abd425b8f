"""The server: the page, its WebSocket, downloads. Everything that computes is the worker's."""

import asyncio
import contextlib
import ipaddress
import logging
import socket
import time
import webbrowser
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Future
from importlib import resources
from pathlib import Path
from typing import Any, get_args

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from framework.errors import UserError
from framework.jobs.models import pick_device
from framework.jobs.requests.framing import FRAMING, Crop, Framing
from framework.studio import messages, wire
from framework.studio.connections import Connections
from framework.studio.edit import Edit
from framework.studio.forms import presets, settings_form
from framework.studio.messages import BadMessage, Note
from framework.studio.models import Models
from framework.studio.request import StudioRequest
from framework.studio.runs import Runs
from framework.studio.security import Guard, new_token
from framework.studio.session import Session
from framework.studio.sessions import Full, Sessions
from framework.studio.storage import NoRoom, Storage
from framework.studio.worker import Worker

SEND_SEC = 20.0  # a page that takes nothing for so long is gone
ASK_SEC = 120.0
STORE_SEC = 30.0  # to decode a picture's head and write a file
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
        self.storage = Storage()
        self.sessions = Sessions(models, self.storage, most_sessions)
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
                Route("/runs", self._runs_page),
                Route("/runs.json", self._runs),
                Route("/runs/{run}/progress.json", self._progress),
                Route("/runs/{run}/sheets/{name}", self._sheet),
                Route("/seed.jpg", self._seed),
                Route("/sessions/{session}/photo", self._take_photograph, methods=["POST"]),
                Route("/sessions/{session}/edit", self._take_edit, methods=["POST"]),
                Route("/sessions/{session}/saved/{name}", self._saved),
                WebSocketRoute("/ws", self._speak),
            ],
            middleware=[Middleware(Guard, host=host, port=port, token=token, names=names)],
            lifespan=self._lifespan,
        )

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        self.storage.clean()
        self.worker.start()
        try:
            yield
        finally:
            self.worker.close()
            self.storage.close()

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

    async def _runs_page(self, _: Request) -> Response:
        return self._file("runs.html")

    async def _runs(self, _: Request) -> Response:
        return JSONResponse(await asyncio.to_thread(lambda: self.sessions.models.runs.names))

    async def _progress(self, request: Request) -> Response:
        """Return what is new in a run's numbers, and its sheets."""
        place = request.query_params.get("place", "0")
        start = int(place) if place.isdecimal() and len(place) < 16 else 0
        run, runs = request.path_params["run"], self.sessions.models.runs
        try:
            return JSONResponse(await asyncio.to_thread(runs.progress, run, start))
        except (UserError, OSError):
            return _nothing()

    async def _sheet(self, request: Request) -> Response:
        """Return a sheet of a run's pictures."""
        run, name = request.path_params["run"], request.path_params["name"]
        try:
            content = await asyncio.to_thread(self.sessions.models.runs.sheet, run, name)
        except (UserError, OSError):
            return _nothing()
        return Response(content, media_type="image/png", headers={"Cache-Control": "no-cache"})

    async def _health(self, _: Request) -> Response:
        return JSONResponse({"ok": True})

    async def _description(self, _: Request) -> Response:
        return JSONResponse({
            "messages": wire.describe(), "settings": settings_form(), "presets": presets(),
        })  # fmt: skip

    async def _seed(self, request: Request) -> Response:
        """Return a small picture of a seed."""
        asked = request.query_params
        try:
            seed, psi = int(asked.get("seed", "")), float(asked.get("psi", "0.7"))
        except ValueError:
            return _nothing()
        models, name = self.sessions.models, asked.get("model", "")
        return await self._answered(
            lambda: self.worker.ask(lambda: models.thumbnail(name, seed, psi)), "image/jpeg"
        )

    async def _saved(self, request: Request) -> Response:
        """Return something of a session's edit, to be saved."""
        session = self.sessions.get(request.path_params["session"])
        name = request.path_params["name"]
        if session is None or name not in _SAVED:
            return _nothing()
        make, kind = _SAVED[name]

        def asked() -> Future:
            return session.ask(lambda: make(session.edit))

        return await self._answered(asked, kind, name)

    async def _take_photograph(self, request: Request) -> Response:
        """Take a photograph, and begin to put it into the session's model."""
        stages = request.query_params.get("stages", "embed,refine,tune")
        try:
            framing = _framing(request.query_params)
        except UserError as error:
            return _mistake(error)
        return await self._taken(
            request,
            self.storage.photograph,
            lambda session, file: session.invert(file, framing, stages),
        )

    async def _take_edit(self, request: Request) -> Response:
        """Take an edit, and go on with it."""
        return await self._taken(
            request, self.storage.edit, lambda session, file: session.go_on(file)
        )

    async def _taken(
        self,
        request: Request,
        store: Callable[[bytes], Path],
        use: Callable[[Session, Path], None],
    ) -> Response:
        """Store what was sent, away from the loop; then let the session use it."""
        session = self.sessions.get(request.path_params["session"])
        if session is None:
            return _nothing()
        data = await request.body()
        try:
            file = await asyncio.wait_for(asyncio.to_thread(store, data), STORE_SEC)
        except (UserError, TimeoutError) as error:
            return _mistake(error)
        answer = await self._answered(
            lambda: session.ask(lambda: use(session, file)), "application/json"
        )
        if answer.status_code != 200:
            self.storage.remove(file.parent)
        return answer

    async def _answered(
        self, ask: Callable[[], Future], kind: str, name: str | None = None
    ) -> Response:
        """Return what the worker's thread answers; as a download if it has a name."""
        try:
            future = ask()
            self.worker.wake()
            content = await asyncio.wait_for(asyncio.wrap_future(future), ASK_SEC)
        except (UserError, TimeoutError) as error:
            return _mistake(error)
        if content is None:
            return JSONResponse({})
        if isinstance(content, tuple):
            content, name = content
        more = {"Content-Disposition": f'attachment; filename="{name}"'} if name else {}
        return Response(content, media_type=kind, headers=more)

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
        models = self.sessions.models
        hello = messages.Hello(
            session.id, models.names, models.first, self._device, bool(models.runs.names)
        )
        try:
            await socket.send_text(wire.to_text(hello))
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
                    session.put(wire.read_command(text))
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
        models = Models(
            request.model, request.models, request.device, Runs(request.runs),
            request.directions, request.text_encoder,
        )  # fmt: skip
        if models.first is not None:
            models.control(models.first)  # what is wrong with it shows now
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


_SAVED: dict[str, tuple[Callable[[Edit], Any], str]] = {
    "picture.png": (lambda edit: edit.png("picture"), "image/png"),
    "before.png": (lambda edit: edit.png("before"), "image/png"),
    "photograph.png": (lambda edit: edit.png("pasted"), "image/png"),
    "edit": (lambda edit: edit.saved(), "application/octet-stream"),
    "drag.mp4": (lambda edit: edit.clip(".mp4"), "video/mp4"),
    "drag.gif": (lambda edit: edit.clip(".gif"), "image/gif"),
}


def _framing(asked: Mapping[str, str]) -> Framing:
    """Read how a photograph lies on the model's picture; what is left empty is not said.

    Raises:
        UserError: Naming the field, if one does not fit.
    """
    given = {name: value for name in FRAMING if (value := asked.get(name, "")[: wire.MAX_TEXT])}
    if given.get("crop", "center") not in get_args(Crop):
        raise UserError("no such way to crop", "crop")
    if "rotate" in given:
        try:
            given["rotate"] = float(given["rotate"])  # type: ignore[assignment]
        except ValueError:
            raise UserError(f"{given['rotate']!r}: give degrees", "rotate") from None
    return Framing(**given)  # type: ignore[arg-type]


def _mistake(error: UserError | TimeoutError) -> Response:
    """Return the one line of a mistake."""
    if isinstance(error, TimeoutError):
        return JSONResponse({"error": "this takes too long"}, 503)
    status = 507 if isinstance(error, NoRoom) else 400
    return JSONResponse({"error": str(error), "field": error.field}, status)


def _nothing() -> Response:
    return JSONResponse({"error": "there is nothing here"}, 404)


# What strangers cause is no news, and neither is an answer in place of a handshake.
_NO_NEWS = ("Invalid HTTP request", "without completing handshake", "concurrency limit")
logging.getLogger("uvicorn.error").addFilter(
    lambda record: not any(words in record.getMessage() for words in _NO_NEWS)
)
