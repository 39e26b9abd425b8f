"""HTTP connections that have to begin with a request: who opens one and says nothing is cut off."""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

FIRST_REQUEST_SEC = 10.0  # for the whole head of the first request


class Connections(H11Protocol):
    """Uvicorn's connections, which wait for ever for the end of the headers, with a limit."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock."""
        super().connection_made(transport)
        self._late = self.loop.call_later(FIRST_REQUEST_SEC, self._cut_off)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._late.cancel()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self, event: Any) -> None:
        """A WebSocket has limits of its own."""
        self._late.cancel()
        super().handle_websocket_upgrade(event)

    def _cut_off(self) -> None:
        if self.cycle is None:
            self.transport.close()
