"""The outermost middleware: what every answer has in common, its log line and its counts."""

from __future__ import annotations

import logging
import secrets
from time import perf_counter
from typing import TYPE_CHECKING

from pneumonia.serving.errors import RequestError
from pneumonia.serving.logs import ACCESS
from pneumonia.serving.metrics import Metrics

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

NO_PAGE = "default-src 'none'; frame-ancestors 'none'"
# A page may load what is ours and nothing else; its pictures come as data or from its own files.
PAGE = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

_log = logging.getLogger(ACCESS)


class Watch:
    """ASGI middleware. Turns what was raised into an answer, so that nothing of it gets out."""

    def __init__(self, app: ASGIApp, metrics: Metrics, paths: frozenset[str]) -> None:
        self.app = app
        self.metrics = metrics
        self.paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, whatever happens."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, number, status = perf_counter(), secrets.token_hex(8), 0

        async def send_more(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": _headers(message["headers"], number)}
            await send(message)

        with self.metrics.in_flight.track_inprogress():
            try:
                await self.app(scope, receive, send_more)
            except RequestError as error:
                await _answer(error, send_more)
            except Exception:
                _log.exception("a request failed by a mistake of ours", extra=_told(number))
                if not status:
                    await _answer(internal_error(number), send_more)
        self._note(scope, status, number, perf_counter() - begun)

    def _note(self, scope: Scope, status: int, number: str, seconds: float) -> None:
        # Of the path only which of ours it is: the rest is the sender's. What was refused early has
        # no route yet.
        path = scope["path"] if scope["path"] in self.paths else ""
        route = getattr(scope.get("route"), "path", path)
        method = scope["method"] if route else ""
        self.metrics.requests.labels(route, method, status).inc()
        self.metrics.request_seconds.labels(route, method).observe(seconds)
        told = {"route": route, "method": method, "status": status}
        told |= {"milliseconds": round(1000 * seconds, 1)}
        _log.info("answered", extra={"told": told | _told(number)["told"]})


def internal_error(number: str) -> RequestError:
    """A mistake of ours; the number finds it in the log."""
    return RequestError(
        500, "internal_error", "request",
        f"a mistake of ours: tell whoever runs this service the number {number}",
    )  # fmt: skip


async def _answer(error: RequestError, send: Send) -> None:
    body = error.body
    given = {"Content-Type": "application/json", "Content-Length": str(len(body)), **error.headers}
    headers = [(name.lower().encode(), value.encode()) for name, value in given.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _told(number: str) -> dict[str, dict[str, str]]:
    return {"told": {"request": number}}


def _headers(given: list[tuple[bytes, bytes]], number: str) -> list[tuple[bytes, bytes]]:
    present = dict(given)
    is_page = present.get(b"content-type", b"").startswith(b"text/html")
    more = HEADERS | {
        "Content-Security-Policy": PAGE if is_page else NO_PAGE,
        "Cache-Control": "no-cache" if b"etag" in present else "no-store",
        "X-Request-ID": number,
    }
    added = [(name.lower().encode(), value.encode()) for name, value in more.items()]
    return [*given, *((name, value) for name, value in added if name not in present)]
