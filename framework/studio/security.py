"""The guard in front of every route: who may speak to this server, and how much.

A page on this machine is within reach of every other page that its browser shows. What keeps those
out: the name by which the server was called (DNS rebinding), the page that calls (`Origin`, and
`Sec-Fetch-Site` where a browser leaves the first out), and on any address but this machine's own a
token.
"""

import asyncio
import hmac
import ipaddress
import secrets
import time
from collections.abc import Iterable
from http.cookies import SimpleCookie
from urllib.parse import parse_qs

from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from framework.studio.faults import in_a_line
from framework.studio.request import LOOPBACK

MAX_BODY_BYTES = 48 * 1024 * 1024
BODY_SEC = 30.0  # for a whole body
MAX_PATH = 300  # characters
COOKIE = "dragline"
_WRITES_NOTHING = ("GET", "HEAD")
_REFUSALS = {
    400: "bad request", 403: "not allowed from there", 405: "not allowed", 413: "too large",
    408: "too slow",
}  # fmt: skip
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}


class _Refused(Exception):
    """A request that goes no further; `status` is HTTP's."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Guard:
    """ASGI middleware: refuses strangers before anything of theirs is read.

    Args:
        app: What is guarded.
        host: Address that the server listens on.
        port: Port that it listens on.
        token: What a stranger does not know; None where only this machine can come.
        names: Further names by which this machine is called.
    """

    def __init__(
        self,
        app: ASGIApp,
        host: str,
        port: int,
        token: str | None = None,
        names: Iterable[str] = (),
    ) -> None:
        self._app, self._port, self._token = app, port, token
        self._any_address = host in ("0.0.0.0", "::", "")
        bracketed = {f"[{name}]" if ":" in name else name for name in (host, *LOOPBACK)}
        self._hosts = {name.lower() for name in (*bracketed, *names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on with limits on the body and with the headers of every answer."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        try:
            self._check(scope)
            answer = self._token_answer(scope)
            if answer is None:
                await self._app(scope, _Limited(scope, receive).receive, _with_headers(send))
                return
        except _Refused as refusal:
            if scope["type"] == "websocket":  # before it is accepted: HTTP's 403
                await send({"type": "websocket.close", "code": 1008})
                return
            answer = refused(refusal.status)
        except Exception as error:
            if scope["type"] == "websocket":
                raise
            answer = JSONResponse({"error": in_a_line(error)}, 500)
        await answer(scope, receive, _with_headers(send))

    def _check(self, scope: Scope) -> None:
        headers = [(name.lower(), value.decode("latin-1")) for name, value in scope["headers"]]
        hosts = [value for name, value in headers if name == b"host"]
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            raise _Refused(400)
        if len(scope["path"]) > MAX_PATH or "\0" in scope["path"]:
            raise _Refused(400)
        origins = [value for name, value in headers if name == b"origin"]
        sites = [value for name, value in headers if name == b"sec-fetch-site"]
        ours = f"http://{hosts[0].lower()}"
        reads = scope["type"] == "http" and scope["method"] in _WRITES_NOTHING
        if origins:
            if [origin.lower() for origin in origins] != [ours]:
                raise _Refused(403)
        elif not reads:
            raise _Refused(403)
        opened = (b"sec-fetch-mode", "navigate") in headers and scope["path"] == "/" and reads
        if any(site not in ("same-origin", "none") for site in sites) and not opened:
            raise _Refused(403)

    def _is_ours(self, called: str) -> bool:
        """Whether a Host header names this server: rebinding gives others' names, never numbers."""
        name, _, port = called.lower().rpartition(":")
        if port != str(self._port) and not (self._port == 80 and called.lower() in self._hosts):
            return False
        return name in self._hosts or (self._any_address and _is_address(name.strip("[]")))

    def _token_answer(self, scope: Scope) -> Response | None:
        """Answer for who does not show the token; who brings it in the address gets a cookie."""
        if self._token is None:
            return None
        headers = dict(scope["headers"])
        cookies = SimpleCookie(headers.get(b"cookie", b"").decode("latin-1"))
        shown = cookies[COOKIE].value if COOKIE in cookies else ""
        if _same(shown, self._token):
            return None
        (given,) = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[:1]
        if scope["type"] == "websocket" or scope["path"] != "/" or not _same(given, self._token):
            raise _Refused(403)
        answer = RedirectResponse("/", status_code=303)
        answer.set_cookie(COOKIE, self._token, httponly=True, samesite="strict")
        return answer


class _Limited:
    """The body of a request, cut off where it gets too long or takes too long."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._receive, self._left_bytes = receive, MAX_BODY_BYTES
        self._is_http = scope["type"] == "http"
        self._until_sec = time.monotonic() + BODY_SEC
        self._whole = False
        lengths = [value for name, value in scope["headers"] if name.lower() == b"content-length"]
        if lengths and (len(lengths) > 1 or not lengths[0].isdigit() or len(lengths[0]) > 15):
            raise _Refused(400)
        if lengths and int(lengths[0]) > MAX_BODY_BYTES:
            raise _Refused(413)

    async def receive(self) -> Message:
        """Return the next part of the body."""
        if not self._is_http or self._whole:
            return await self._receive()
        try:
            async with asyncio.timeout(max(0.0, self._until_sec - time.monotonic())):
                message = await self._receive()
        except TimeoutError:
            raise _Refused(408) from None
        self._left_bytes -= len(message.get("body", b""))
        if self._left_bytes < 0:
            raise _Refused(413)
        self._whole = not message.get("more_body", False)
        return message


def refused(status: int) -> Response:
    """Return a short answer that closes the connection."""
    return PlainTextResponse(
        f"{_REFUSALS.get(status, 'refused')}\n", status, headers={"Connection": "close"}
    )


def new_token() -> str:
    """Return a token of 192 bits."""
    return secrets.token_urlsafe(24)


def _with_headers(send: Send) -> Send:
    """Add what every answer says to a browser."""

    async def send_with(message: Message) -> None:
        if message["type"] in ("http.response.start", "websocket.http.response.start"):
            own = {name.lower() for name, _ in message.get("headers", [])}
            more = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
            message = {
                **message,
                "headers": [*message.get("headers", []), *(h for h in more if h[0] not in own)],
            }
        await send(message)

    return send_with


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode())


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
