"""The guard in front of every route: who is refused, and that nobody gets past."""

import asyncio

import pytest
from starlette.routing import WebSocketRoute

from framework.errors import UserError
from framework.studio import security
from framework.studio.request import StudioRequest
from framework.studio.server import Studio, _listening
from tests.studio.conftest import HERE, HOST, PORT, ask

OURS = f"{HOST}:{PORT}"


def every_route(app) -> list[tuple[str, str, str]]:
    """(kind, path, method) of all that the application answers."""
    found = [("http", "/nothing/there", "GET")]
    for route in app.routes:
        path = (
            route.path.replace("{session}", "x").replace("{run}", "x").replace("{name}", "app.js")
        )
        if isinstance(route, WebSocketRoute):
            found.append(("websocket", path, "GET"))
        else:
            found += [("http", path, method) for method in sorted(route.methods)]
    return found


def test_the_routes_are_those_that_are_known(app):
    """A new route has to be looked at here."""
    assert {path for _, path, _ in every_route(app)} == {
        "/", "/static/app.js", "/health", "/description.json", "/seed.jpg", "/sessions/x/photo",
        "/runs", "/runs.json", "/runs/x/progress.json", "/runs/x/sheets/app.js",
        "/sessions/x/edit", "/sessions/x/saved/app.js", "/ws", "/nothing/there",
    }  # fmt: skip


BAD_HOSTS = [
    "evil.com", f"evil.com:{PORT}", f"127.0.0.1.evil.com:{PORT}", "localhost:9999", "127.0.0.1", "",
    f"127.0.0.2:{PORT}", f"127.0.0.1:{PORT}@evil.com", "localhost:", f"[::2]:{PORT}", f"0:{PORT}",
]  # fmt: skip


# F2
@pytest.mark.parametrize("host", [*BAD_HOSTS, None, "two"])
def test_every_route_refuses_other_hosts(app, studio, host):
    headers = [("host", host)] if host else []
    headers = [("host", OURS), ("host", OURS)] if host == "two" else headers
    for kind, path, method in every_route(app):
        answer = ask(app, path, method, [*headers, ("origin", HERE)], kind=kind)
        assert answer.status in (400, 403), (path, host)
    assert not studio.sessions.all()


# F2
@pytest.mark.parametrize("host", [OURS, f"localhost:{PORT}", f"[::1]:{PORT}", f"LOCALHOST:{PORT}"])
def test_this_machine_has_several_names(app, host):
    assert ask(app, headers=[("host", host)]).status == 200


BAD_ORIGINS = [
    "https://evil.com", "null", "http://localhost.evil.com", "http://127.0.0.1:1", "file://", "",
    f"https://{OURS}", f"http://localhost:{PORT}", f"{HERE}/", f"{HERE}.evil.com",
]  # fmt: skip


# F3
@pytest.mark.parametrize("origin", BAD_ORIGINS)
def test_every_route_refuses_other_pages(app, studio, origin):
    for kind, path, method in every_route(app):
        answer = ask(app, path, method, [("host", OURS), ("origin", origin)], kind=kind)
        assert answer.status == 403, (path, origin)
    assert not studio.sessions.all()


# F5
def test_a_socket_and_a_change_need_an_origin(app, studio):
    assert ask(app, "/ws", kind="websocket").status == 403
    assert ask(app, "/health", "POST").status == 403
    assert ask(app, "/health", "POST", [("host", OURS), ("origin", HERE)]).status == 405
    assert not studio.sessions.all()


# F4
def test_a_rebound_name_is_refused(app):
    headers = [("host", f"attacker.com:{PORT}"), ("origin", f"http://attacker.com:{PORT}")]
    assert ask(app, "/ws", headers=headers, kind="websocket").status == 403
    assert ask(app, "/", headers=headers).status == 400


# F3
@pytest.mark.parametrize("site", ["cross-site", "same-site", "nonsense"])
def test_other_sites_may_open_the_page_and_no_more(app, site):
    from_there = [("host", OURS), ("sec-fetch-site", site)]
    for kind, path, method in every_route(app):
        if (kind, path, method) not in (("http", "/", "GET"), ("http", "/", "HEAD")):
            headers = [*from_there, ("sec-fetch-mode", "navigate")]
            assert ask(app, path, method, headers, kind=kind).status == 403, path
    assert ask(app, "/", headers=from_there).status == 403
    assert ask(app, "/", headers=[*from_there, ("sec-fetch-mode", "navigate")]).status == 200


# F6
@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
)
def test_simple_requests_of_other_pages_store_nothing(app, studio, kind):
    headers = [("host", OURS), ("origin", "https://evil.com"), ("content-type", kind)]
    for path in ("/", "/ws", "/sessions/x/photo", "/sessions/x/edit"):
        assert ask(app, path, "POST", headers, [b'{"type": "Run"}']).status == 403
    assert not studio.sessions.all()


# F7
def test_every_answer_carries_the_headers(app):
    for kind, path, method in every_route(app):
        for headers in ([("host", OURS)], [("host", "evil.com")]):
            if kind == "http":
                answer = ask(app, path, method, headers)
                csp = answer.headers["content-security-policy"]
                assert "default-src 'none'" in csp and "frame-ancestors 'none'" in csp
                assert "unsafe" not in csp and "*" not in csp and "http" not in csp
                assert answer.headers["x-content-type-options"] == "nosniff"
                assert answer.headers["referrer-policy"] == "no-referrer"
                assert answer.headers["x-frame-options"] == "DENY"
                assert "no-" in answer.headers["cache-control"]
                assert "access-control-allow-origin" not in answer.headers


def with_body(app, *headers: tuple[str, str], body: list[bytes]) -> int:
    return ask(app, "/health", "POST", [("host", OURS), ("origin", HERE), *headers], body).status


# F8
@pytest.mark.parametrize("length", ["-1", "1e3", "9" * 30, "0x10", " ", "1,1"])
def test_lengths_that_are_none_are_refused(app, length):
    assert with_body(app, ("content-length", length), body=[b"x"]) == 400


# F8
def test_a_length_twice_is_refused(app):
    twice = [("content-length", "1"), ("content-length", "1")]
    assert with_body(app, *twice, body=[b"x"]) == 400


# F8
def test_a_body_that_says_that_it_is_too_long_is_not_read(app):
    async def never() -> dict:
        raise AssertionError("it was read")

    headers = [("host", OURS), ("origin", HERE), ("content-length", "999999999")]
    assert ask(app, "/health", "POST", headers, receive=never).status == 413


async def reading(scope, receive, send) -> None:
    """An application that reads all that it gets."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


# F8
def test_a_body_without_a_length_is_cut_at_the_limit(monkeypatch):
    monkeypatch.setattr(security, "MAX_BODY_BYTES", 1000)
    guarded = security.Guard(reading, HOST, PORT)
    assert with_body(guarded, body=[b"x" * 100] * 10) == 200
    assert with_body(guarded, body=[b"x" * 100] * 11) == 413


# F9
def test_a_body_that_does_not_come_is_given_up(monkeypatch):
    monkeypatch.setattr(security, "BODY_SEC", 0.05)
    guarded = security.Guard(reading, HOST, PORT)

    async def slow() -> dict:
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b"x", "more_body": True}

    headers = [("host", OURS), ("origin", HERE)]
    assert ask(guarded, "/health", "POST", headers, receive=slow).status == 408


# ------------------------------------------------------------------------------ other addresses


# F1
def test_only_this_machine_by_default():
    assert StudioRequest().host == "127.0.0.1" and StudioRequest().is_local
    assert not StudioRequest(host="0.0.0.0").is_local


# F1 F5
def test_any_other_address_needs_the_token(models):
    app = Studio(models).app("0.0.0.0", PORT, token="secret")
    here = ("host", f"192.0.2.7:{PORT}")
    origin = ("origin", f"http://192.0.2.7:{PORT}")
    for kind, path, method in every_route(app):
        for cookie in ("", "dragline=wrong", "dragline=", "other=secret"):
            headers = [here, origin, ("cookie", cookie)]
            assert ask(app, path, method, headers, kind=kind).status == 403, path
    assert ask(app, "/", headers=[here], query="token=wrong").status == 403
    assert ask(app, "/health", headers=[here], query="token=secret").status == 403
    welcome = ask(app, "/", headers=[here], query="token=secret")
    assert welcome.status == 303 and welcome.headers["location"] == "/"
    assert "HttpOnly" in welcome.headers["set-cookie"]
    assert "SameSite=strict" in welcome.headers["set-cookie"]
    assert ask(app, headers=[here, ("cookie", "dragline=secret")]).status == 200
    rebound = [("host", f"evil.com:{PORT}"), ("cookie", "dragline=secret")]
    assert ask(app, headers=rebound).status == 400


def test_tokens_cannot_be_guessed():
    tokens = {security.new_token() for _ in range(100)}
    assert len(tokens) == 100 and min(map(len, tokens)) >= 32


# F23
def test_a_port_in_use_is_one_line():
    with _listening(StudioRequest(port=0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(UserError, match=rf"^port {port}: cannot listen"):
            _listening(StudioRequest(port=port))
