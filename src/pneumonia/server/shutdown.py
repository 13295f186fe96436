"""A stop that loses no request: answer for a while yet, then refuse in words, and only then close.

uvicorn by itself closes at once what it listens to and every connection that is idle. A request
that is on its way then is reset, and so is each one that a proxy in front, as Docker has one, still
takes in. Here a SIGTERM has three steps:

1. For `Limits.drain` seconds all is answered as before, with `Connection: close`, so that clients
   leave the connections that they kept. /ping says 503: who spreads the load sends no more.
2. For `REFUSING` seconds what comes gets 503 and when to come again.
3. Nothing is listened to any more; what is in flight is finished, as uvicorn does it.

SIGINT, from a keyboard, goes to the third step, and a SIGINT during a stop ends it.
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


REFUSING = 1  # s; a client that asks again and again has its 503 within that
RETRY_AFTER = 5  # s; by then the port is closed, or another process answers there
PROBES = ("/ping", "/health")


@dataclass
class Stop:
    """How far a stop has come: the server says it, the application reads it.

    Attributes:
        begun: whoever asks how it is, is told that it ends.
        refusing: everybody is.
    """

    begun: bool = False
    refusing: bool = False


class Stopping:
    """ASGI middleware that refuses when it is time.

    Within the gate, which reads the body: a connection that is closed with a body half read is
    reset, and takes the answer with it.
    """

    def __init__(self, app: ASGIApp, stop: Stop) -> None:
        self.app = app
        self.stop = stop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or raise a `RequestError`: 503."""
        if scope["type"] == "http" and (
            self.stop.refusing or (self.stop.begun and scope["path"] in PROBES)
        ):
            raise RequestError(
                503, "stopping", "request",
                f"this server is being stopped: repeat the request in {RETRY_AFTER} s", RETRY_AFTER,
            )  # fmt: skip
        await self.app(scope, receive, send)


class Server(uvicorn.Server):
    """uvicorn's server with the three steps."""

    def __init__(self, config: uvicorn.Config, stop: Stop, drain: int) -> None:
        """Take what `Stopping` reads, and for how many seconds to answer on; 0: close at once."""
        super().__init__(config)
        self._stop = stop
        self._drain = drain
        self._by_keyboard = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal."""
        self._by_keyboard = self._by_keyboard or sig == signal.SIGINT
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Go through the steps; uvicorn calls this after a signal, when all still listens."""
        if self._drain and not self._by_keyboard:
            closing = [*self.server_state.default_headers, (b"connection", b"close")]
            self.server_state.default_headers = closing
            self._stop.begun = True
            await self._wait(self._drain)
            self._stop.refusing = True
            await self._wait(REFUSING)
        await super().shutdown(sockets)

    async def _wait(self, seconds: float) -> None:
        until = monotonic() + seconds
        while monotonic() < until and not self._by_keyboard:
            await asyncio.sleep(0.1)
