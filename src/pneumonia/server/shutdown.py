"""A shutdown that loses no request: serve for a while, then refuse with a message, then close.

uvicorn alone closes its port and idle connections at once. Requests that are on their way are then
reset, also behind a proxy such as Docker's. Here, a SIGTERM starts three steps:

1. For `Limits.drain_seconds`, requests are served as before, but with `Connection: close`, so that
   clients close their connections. /ping responds 503, so that load balancers send no requests.
2. For `REFUSING` seconds, requests get 503 with Retry-After.
3. uvicorn closes the port and finishes the requests in progress.

A SIGINT from a keyboard starts step 3 at once. A SIGINT during a shutdown ends the shutdown.
"""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

import uvicorn

from pneumonia.server.errors import RequestError

if TYPE_CHECKING:
    import socket
    from types import FrameType

    from starlette.types import ASGIApp, Receive, Scope, Send


REFUSING = 1  # seconds; in this time a client that repeats its request gets the 503
RETRY_AFTER = 5  # seconds; then the port is closed, or another process serves
PROBES = ("/ping", "/health")


@dataclass
class ShutdownState:
    """The step of the shutdown; the server sets this state, and the application reads it."""

    draining: bool = False  #: probes get 503
    refusing: bool = False  #: all requests get 503


class ShutdownMiddleware:
    """ASGI middleware that refuses requests according to the step of the shutdown.

    It is inside `LimitsMiddleware`, which reads the body first. A connection that is closed before
    the body is read would be reset, and the client would not get the response.
    """

    def __init__(self, app: ASGIApp, state: ShutdownState) -> None:
        self.app = app
        self.state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Accept a request, or raise a `RequestError` with status 503."""
        if scope["type"] == "http" and (
            self.state.refusing or (self.state.draining and scope["path"] in PROBES)
        ):
            raise RequestError(
                503, "stopping", "request",
                f"this server is stopping: repeat the request in {RETRY_AFTER} s", RETRY_AFTER,
            )  # fmt: skip
        await self.app(scope, receive, send)


class Server(uvicorn.Server):
    """uvicorn's server with the three steps of the shutdown."""

    def __init__(self, config: uvicorn.Config, state: ShutdownState, drain_seconds: int) -> None:
        super().__init__(config)
        self._state = state
        self._drain_seconds = drain_seconds
        self._by_keyboard = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Handle a signal, and note whether it came from the keyboard."""
        self._by_keyboard = self._by_keyboard or sig == signal.SIGINT
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Go through the steps; uvicorn calls this after a signal, before it closes the port."""
        if self._drain_seconds and not self._by_keyboard:
            closing = [*self.server_state.default_headers, (b"connection", b"close")]
            self.server_state.default_headers = closing
            self._state.draining = True
            await self._wait(self._drain_seconds)
            self._state.refusing = True
            await self._wait(REFUSING)
        await super().shutdown(sockets)

    async def _wait(self, seconds: float) -> None:
        until = monotonic() + seconds
        while monotonic() < until and not self._by_keyboard:
            await asyncio.sleep(0.1)
