"""The studio in tests: on tiny models, asked through ASGI, through a socket, or by a browser."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from framework.studio import messages
from framework.studio.messages import State
from framework.studio.models import Models
from framework.studio.request import StudioRequest
from framework.studio.server import Server, Studio
from framework.studio.session import Session
from framework.studio.storage import Storage

HOST, PORT = "127.0.0.1", 8000
HERE = f"http://{HOST}:{PORT}"
PULL = messages.AddPoint((20, 30), (40, 34))
SMALL = messages.Choose("small")  # many small steps, also on an untrained model


@pytest.fixture(scope="session")
def models(tiny_model) -> Models:
    return Models(str(tiny_model), None, "cpu")


@pytest.fixture
def storage(tmp_path) -> Storage:
    return Storage(tmp_path / "stored")


@pytest.fixture
def studio(models) -> Iterator[Studio]:
    studio = Studio(models, most_sessions=3)
    yield studio
    studio.worker.close()


@pytest.fixture
def app(studio):
    return studio.app(HOST, PORT)


@pytest.fixture
def session(models, storage) -> Session:
    """A session with a picture and a point, without a worker: the test makes its turns."""
    session = Session(models, storage)
    session.put(messages.Open(models.first, seed=3))
    session.put(SMALL)
    session.put(PULL)
    session.turn()
    return session


def state(session: Session) -> State:
    """What the page shows."""
    return session.state()


def turns(session: Session, count: int) -> None:
    """Let the session take turns."""
    for _ in range(count):
        session.turn()


def told(session: Session) -> str:
    """What the page was told since it was last asked, frames left out."""
    return "".join(m for m in session.outbox.take() if isinstance(m, str))


class Answer:
    """What an ASGI application said."""

    def __init__(self, said: list[dict[str, Any]]) -> None:
        self.said = said
        starts = [message for message in said if message["type"].endswith("response.start")]
        closes = [message for message in said if message["type"] == "websocket.close"]
        self.status = starts[0]["status"] if starts else 403 if closes else 101
        headers = starts[0]["headers"] if starts else []
        self.headers = {name.decode().lower(): value.decode() for name, value in headers}
        self.body = b"".join(message.get("body", b"") for message in said)


def ask(
    app: Any,
    path: str = "/health",
    method: str = "GET",
    headers: list[tuple[str, str]] | None = None,
    body: list[bytes] | None = None,
    kind: str = "http",
    query: str = "",
    receive: Callable[[], Any] | None = None,
) -> Answer:
    """Ask an ASGI application, with exactly these headers: no client tidies them up."""
    headers = [("host", f"{HOST}:{PORT}")] if headers is None else headers
    parts = [*(body or [b""])]
    said: list[dict[str, Any]] = []

    async def next_part() -> dict[str, Any]:
        if kind == "websocket":
            return {"type": "websocket.connect" if not said else "websocket.disconnect"}
        if not parts:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def send(message: dict[str, Any]) -> None:
        said.append(message)

    scope = {
        "type": kind, "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method,
        "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": query.encode(),
        "root_path": "", "client": ("127.0.0.1", 5), "server": (HOST, PORT), "subprotocols": [],
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers],
        "extensions": {"websocket.http.response": {}},
    }  # fmt: skip
    asyncio.run(app(scope, receive or next_part, send))
    return Answer(said)


def until(condition: Callable[[], Any], patience_sec: float = 60.0) -> Any:
    """Wait until something is so, and return it."""
    end_sec = time.monotonic() + patience_sec
    while not (value := condition()):
        assert time.monotonic() < end_sec, "it never came"
        time.sleep(0.01)
    return value


@contextlib.contextmanager
def served(request: StudioRequest) -> Iterator[Server]:
    """A real server, in a thread."""
    up = threading.Event()
    server = Server(request, lambda _: up.set())
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert up.wait(60)
        yield server
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()
