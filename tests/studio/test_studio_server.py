"""The server through real sockets: pages that come, talk, misbehave and go."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from framework.studio import connections, messages, server, wire
from framework.studio.request import StudioRequest
from tests.studio.conftest import ask, served, until

ROOT = Path(__file__).resolve().parents[2]
STATIC = ROOT / "framework/studio/static"


@pytest.fixture(scope="module")
def running(tiny_model) -> Iterator[server.Server]:
    with served(StudioRequest(model=str(tiny_model), port=0, device="cpu", sessions=64)) as it:
        yield it


@pytest.fixture
def page(running) -> Iterator["Page"]:
    with Page(running.address) as page:
        yield page


class Page:
    """A page without a browser."""

    def __init__(self, address: str, session: str = "") -> None:
        self.base = address.rstrip("/")
        socket_address = f"{self.base.replace('http', 'ws')}/ws?session={session}"
        self._connect = connect(
            socket_address, origin=self.base, max_size=None, proxy=None, close_timeout=1
        )
        self.wire: ClientConnection = self._connect.__enter__()
        self.frames: list[bytes] = []
        self.state: dict = {}
        self.notes: list[str] = []
        self.hello = json.loads(self.wire.recv(30))
        assert self.hello["type"] == "Hello"

    def __enter__(self) -> "Page":
        return self

    def __exit__(self, *_: object) -> None:
        self.wire.close()

    def say(self, command: object) -> None:
        self.wire.send(wire.to_text(command))  # type: ignore[arg-type]

    def read(self, acknowledge: bool = True) -> None:
        message = self.wire.recv(60)
        if isinstance(message, bytes):
            self.frames.append(message)
            if acknowledge:
                self.say(messages.Ack(int.from_bytes(message[4:8], "little")))
            return
        event = json.loads(message)
        if event["type"] == "State":
            self.state = event
        elif event["type"] == "Note":
            self.notes.append(event["text"])

    def until(self, condition) -> None:
        while not condition():
            self.read()

    def open(self) -> None:
        self.say(messages.Open(self.hello["first"], seed=3))
        self.say(messages.Choose("small"))
        self.say(messages.AddPoint((20, 30), (44, 34)))
        self.until(lambda: self.frames and self.state.get("points"))

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"{self.base}{path}", timeout=60)


def test_a_drag_from_the_first_message_to_the_file(page):
    page.open()
    page.say(messages.Run())
    page.until(lambda: page.state["step"] >= 5)
    page.say(messages.Stop())
    page.until(lambda: not page.state["running"])
    assert len({frame[16:] for frame in page.frames}) > 2
    session = page.hello["session"]
    edit = page.get(f"/sessions/{session}/saved/edit")
    assert edit.status_code == 200 and b"dragline-edit" in edit.content
    assert "attachment" in edit.headers["content-disposition"]
    picture = page.get(f"/sessions/{session}/saved/picture.png").content
    before = page.get(f"/sessions/{session}/saved/before.png").content
    assert picture.startswith(b"\x89PNG") and picture != before


def test_a_page_that_comes_back_gets_its_edit(running):
    with Page(running.address) as page:
        page.open()
    until(lambda: not running.studio.sessions.get(page.hello["session"]).connected)
    with Page(running.address, page.hello["session"]) as again:
        again.until(lambda: again.frames and again.state.get("points"))
        assert again.hello["session"] == page.hello["session"]
        assert again.state["points"] == page.state["points"]
        with Page(running.address, page.hello["session"]) as other:  # it has a page
            assert other.hello["session"] != page.hello["session"]


# F17
def test_a_page_that_goes_in_the_middle_frees_the_worker(running):
    with Page(running.address) as page:
        page.open()
        page.say(messages.Choose("small", {"max_steps": 100000, "stop_distance_px": 0.0}))
        page.say(messages.Run())
        page.until(lambda: page.state["running"] and page.state["step"] > 2)
        session = running.studio.sessions.get(page.hello["session"])
        assert session.has_work
        page.wire.socket.shutdown(socket.SHUT_RDWR)  # no farewell
    until(lambda: not session.connected and not session.has_work)


# F18
def test_a_page_that_reads_nothing_does_not_hold_the_drag(running):
    with Page(running.address) as page:
        page.open()
        page.say(messages.Choose("small", {"max_steps": 100000, "stop_distance_px": 0.0}))
        page.say(messages.Run())
        session = running.studio.sessions.get(page.hello["session"])
        until(lambda: session.state().step > 40)
    until(lambda: not session.has_work)


# F27
def test_the_server_answers_while_a_drag_runs(running, page):
    page.open()
    page.say(messages.Choose("small", {"max_steps": 100000, "stop_distance_px": 0.0}))
    page.say(messages.Run())
    page.until(lambda: page.state["step"] > 2)
    session = running.studio.sessions.get(page.hello["session"])
    lock, answers = threading.Event(), []
    session.ask(lambda: lock.wait(60))  # a step that takes a minute
    running.studio.worker.wake()
    try:
        answers = [page.get("/health").status_code for _ in range(5)]
    finally:
        lock.set()
    assert answers == [200] * 5


# F19
@pytest.mark.parametrize(
    ("said", "code"), [(b"binary", 1003), ("x" * (messages.MAX_MESSAGE_BYTES + 1), 1009)]
)
def test_what_is_no_text_or_too_long_ends_the_connection(running, said, code):
    with Page(running.address) as page, pytest.raises(ConnectionClosed) as closed:
        page.wire.send(said)
        while True:
            page.read()
    assert closed.value.rcvd and closed.value.rcvd.code == code


# F19
def test_nonsense_is_answered_and_then_hung_up_on(running):
    with Page(running.address) as page, pytest.raises(ConnectionClosed) as closed:
        page.wire.send("{}")
        page.until(lambda: page.notes)
        for _ in range(server.MAX_BAD):
            page.wire.send('{"type": "Run", "a": NaN}')
        while True:
            page.read()
    assert closed.value.rcvd and closed.value.rcvd.code == 1008


# F19
def test_a_flood_is_hung_up_on(running):
    with Page(running.address) as page, pytest.raises(ConnectionClosed):
        for _ in range(20 * server.MAX_PER_SEC):
            page.say(messages.Ack(0))
        while True:
            page.read()
    assert httpx.get(f"{running.address}health").status_code == 200


# F20
def test_too_many_pages_are_told(tiny_model):
    with served(StudioRequest(port=0, device="cpu", sessions=1)) as it, Page(it.address):
        with pytest.raises(InvalidStatus) as refusal:
            Page(it.address)
        assert refusal.value.response.status_code == 429


def sent(page: Page, to: str, data: bytes, **query: str) -> httpx.Response:
    return httpx.post(
        f"{page.base}/sessions/{page.hello['session']}/{to}", content=data, params=query,
        headers={"Origin": page.base}, timeout=60,
    )  # fmt: skip


# F11
def test_what_is_sent_is_used_or_refused_in_a_line(page, photograph, running):
    data = photograph(size=(80, 60)).read_bytes()
    refused = sent(page, "photo", data)  # no model yet
    assert refused.status_code == 400 and "open a model" in refused.json()["error"]
    page.open()
    for bad, how in (
        (b"", {}), (b"<svg/>", {}), (data[:99], {}), (data, {"crop": "../x"}),
        (data, {"stages": "nonsense"}), (data, {"box": "1,2,3"}), (data, {"rotate": "nan"}),
        (data, {"rotate": "x"}), (data, {"align": "1,1:2"}), (data, {"box": "900,900,950,950"}),
    ):  # fmt: skip
        refused = sent(page, "photo", bad, **how)
        assert refused.status_code == 400 and len(refused.json()["error"]) < 300, (bad[:9], how)
    for bad in (b"", b"nonsense", b"PK\x03\x04", data):
        assert sent(page, "edit", bad).status_code == 400
    assert page.state["kind"] == "seed"
    assert not list(running.studio.storage._folder.rglob("*.*"))
    assert sent(page, "photo", data, stages="embed").status_code == 200
    page.until(lambda: page.state["kind"] == "photo")
    stranger = httpx.post(
        f"{page.base}/sessions/stranger/photo", content=data, headers={"Origin": page.base}
    )
    assert stranger.status_code == 404


def test_seeds_are_shown_small(page):
    name = page.hello["first"]
    for query in (f"model={name}&seed=3", f"model={name}&seed=3&psi=0.5"):
        assert page.get(f"/seed.jpg?{query}").content.startswith(b"\xff\xd8")
    bad = ["seed=-1", "seed=1&psi=nan", "seed=1e3", "seed=", f"seed={'9' * 5000}", "psi=1"]
    bad = [f"model={name}&{query}" for query in bad]
    for query in ("", "model=x&seed=1", "model=/etc/passwd&seed=1", *bad):
        assert page.get(f"/seed.jpg?{query}").status_code in (400, 404), query


def test_a_clip_is_saved(page):
    page.open()
    page.say(messages.Choose("small", {"max_steps": 3}))
    page.say(messages.Run())
    page.until(lambda: page.state["step"] >= 3 and not page.state["running"])
    session = page.hello["session"]
    assert page.get(f"/sessions/{session}/saved/drag.gif").content.startswith(b"GIF8")
    assert page.get(f"/sessions/{session}/saved/drag.mp4").content[4:8] == b"ftyp"
    assert page.get(f"/sessions/{session}/saved/photograph.png").status_code == 400


# F13 F20
def test_other_sessions_are_not_there(page):
    page.open()
    session = page.hello["session"]
    for other in (session[:-1], session[::-1], "..", "%2e%2e%2f", "..%5c", "%00", "a" * 5000, "~"):
        for name in ("picture.png", "edit", "before.png", "drag.gif"):
            assert page.get(f"/sessions/{other}/saved/{name}").status_code in (400, 404), other
    assert page.get(f"/sessions/{session}/saved/edit").status_code == 400  # nothing dragged


# F13
@pytest.mark.parametrize(
    "name",
    ["..", "../server.py", "%2e%2e/server.py", "..\\server.py", "//etc/passwd", "app.js\0",
     "/etc/passwd", "a" * 250, "server.py", "", "__init__.py"],
)  # fmt: skip
def test_static_names_are_no_paths(app, name):
    answer = ask(app, f"/static/{name}")
    assert answer.status in (400, 404) and b"import" not in answer.body


# F13
def test_links_in_a_folder_of_models_lead_nowhere(tmp_path, tiny_model):
    from framework.studio.models import Models

    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "inside").mkdir()
    (folder / "inside/config.json").write_text("{}")
    (folder / "outside").symlink_to(tiny_model)
    (folder / "notes.txt").write_text("")
    (folder / "<img src=x onerror=alert(1)>.pt").write_text("")
    names = Models(None, str(folder), "cpu").names
    assert "inside" in names and "outside" not in names and "notes.txt" not in names
    assert "<img src=x onerror=alert(1)>.pt" in names


# F16
def test_ranges_are_ignored(running):
    ranges = "bytes=" + ",".join(f"{i}-{i + 1}" for i in range(1000))
    answer = httpx.get(f"{running.address}static/app.js", headers={"Range": ranges})
    assert answer.status_code == 200 and answer.content == (STATIC / "app.js").read_bytes()


# F26
@pytest.mark.parametrize("path", ["docs", "redoc", "openapi.json", "debug", "static/", "ws"])
def test_nothing_else_is_served(running, path):
    assert httpx.get(f"{running.address}{path}").status_code in (400, 404, 405)


# F24
def test_the_page_fetches_nothing_from_elsewhere():
    for file in STATIC.iterdir():
        text = file.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.findall(r"(?:https?:)?//[\w-]+\.\w+|innerHTML|\beval\b|style=", text), file


# F21
def test_a_fault_says_nothing_of_itself(running, monkeypatch, caplog):
    async def broken(_):
        raise RuntimeError("/secret")

    route = next(r for r in running.config.app.routes if r.path == "/health")
    monkeypatch.setattr(route, "app", lambda *_: broken(None))
    answer = httpx.get(f"{running.address}health")
    assert answer.status_code == 500 and "fault" in answer.json()["error"]
    assert "secret" not in answer.text and "secret" in caplog.text
    assert "content-security-policy" in answer.headers


# F9
def test_who_says_nothing_is_cut_off(tiny_model, monkeypatch):
    monkeypatch.setattr(connections, "FIRST_REQUEST_SEC", 0.3)
    with served(StudioRequest(port=0, device="cpu")) as it:
        address = it.listener.getsockname()
        with socket.create_connection(address) as silent, socket.create_connection(address) as slow:
            slow.sendall(b"GET / HTTP/1.1\r\nHost: ")
            assert httpx.get(f"{it.address}health").status_code == 200  # others are served
            for wire in (silent, slow):
                wire.settimeout(30)
                assert wire.recv(100) == b""


# F10
def test_many_connections_are_refused_and_the_server_recovers(running):
    address = running.listener.getsockname()
    wires = [socket.create_connection(address) for _ in range(server.MAX_CONNECTIONS + 20)]
    until(lambda: len(running.server_state.connections) >= server.MAX_CONNECTIONS)
    assert httpx.get(f"{running.address}health").status_code == 503
    for one in wires:
        one.close()
    until(lambda: len(running.server_state.connections) < server.MAX_CONNECTIONS)
    assert httpx.get(f"{running.address}health").status_code == 200


# F22
@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_while_a_drag_runs(tiny_model, stop):
    words = ["studio", "--model", str(tiny_model), "--port", "0", "--device", "cpu"]
    process = subprocess.Popen(
        [sys.executable, "edit.py", *words], cwd=ROOT, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        assert process.stdout
        address = re.search(r"http://\S+", process.stdout.readline())[0]
        with Page(address) as page:
            page.open()
            page.say(messages.Choose("small", {"max_steps": 100000, "stop_distance_px": 0.0}))
            page.say(messages.Run())
            page.until(lambda: page.state["step"] > 2)
            process.send_signal(stop)
            _, complaints = process.communicate(timeout=60)
        assert process.returncode == 128 + stop and "Traceback" not in complaints, complaints
        socket.create_server(("127.0.0.1", int(address.rstrip("/").rpartition(":")[2]))).close()
    finally:
        process.kill()
