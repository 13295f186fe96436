"""Logs as JSON lines: what was asked and how it went, never what was sent.

What the application counts, for Prometheus.

The outermost middleware: what every answer has in common, its log line and its counts.
"""

from __future__ import annotations

import json
import logging
import logging.config
import secrets
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    generate_latest,
)

from pneumonia.inference.bundle import ModelBundle
from pneumonia.server.errors import RequestError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


ACCESS = "pneumonia.access"


class JsonLines(logging.Formatter):
    """A record a line: time, level, logger, message, and the fields of `extra={"told": {...}}`.

    Of an exception its type and where it came from; its own text may hold what a sender sent.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        level = record.levelname.lower()
        line: dict[str, object] = {"time": when, "level": level, "logger": record.name}
        line |= {"message": record.getMessage()} | getattr(record, "told", {})
        if record.exc_info and record.exc_info[0]:
            line |= {
                "exception": record.exc_info[0].__name__,
                "at": [
                    f"{Path(frame.filename).name}:{frame.lineno}"
                    for frame in traceback.extract_tb(record.exc_info[2])
                ],
            }
        return json.dumps(line)


def configuration(level: str = "INFO") -> dict[str, object]:
    """For `logging.config.dictConfig` and uvicorn: everything as JSON lines on standard output."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": JsonLines}},
        "handlers": {
            "lines": {
                "class": "logging.StreamHandler",
                "formatter": "json",
                "stream": "ext://sys.stdout",
            }
        },
        "root": {"handlers": ["lines"], "level": "WARNING"},
        # MLflow has a handler of its own otherwise.
        "loggers": {
            "mlflow": {"handlers": [], "propagate": True, "level": "ERROR"},
            # What libraries have to say to programmers.
            "py.warnings": {"level": "ERROR"},
            "pneumonia": {"level": level},
            "uvicorn": {"handlers": [], "propagate": True, "level": level},
            "uvicorn.error": {"handlers": [], "propagate": True, "level": level},
        },
    }


SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
TENTHS = tuple(step / 10 for step in range(1, 11))


class Metrics:
    """A registry of its own, so that two applications in a process do not share counts."""

    def __init__(self, model: ModelBundle) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        info = self._make(Info, "model", "The model that answers.")
        graph = model.predictor.graph.sha256
        info.info({"name": model.name, "version": model.version, "graph_sha256": graph})
        route = ["route", "method"]
        self.requests = self._make(
            Counter, "requests", "Requests that were answered.", [*route, "status"]
        )
        self.request_seconds = self._make(
            Histogram, "request_seconds", "From first byte to answer.", route, buckets=SECONDS
        )
        self.in_flight = self._make(Gauge, "requests_in_flight", "Requests being answered.")
        self.images = self._make(
            Counter,
            "images",
            "Images by what was answered: a label, or an error's code.",
            ["answer"],
        )
        self.warnings = self._make(Counter, "warnings", "Doubts about images.", ["code"])
        self.probability = self._make(
            Histogram, "probability", "Of pneumonia, of the images of /predict.", buckets=TENTHS
        )
        self.step_seconds = self._make(
            Histogram, "step_seconds", "Each step of an image's answer.", ["step"],
            buckets=SECONDS,
        )  # fmt: skip

    def _make(self, kind: Any, name: str, told: str, *rest: Any, **given: Any) -> Any:
        return kind(f"pneumonia_{name}", told, *rest, registry=self._registry, **given)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Take the time of a block."""
        begun = perf_counter()
        yield
        self.step_seconds.labels(name).observe(perf_counter() - begun)

    def count_image(self, answer: str, codes: Iterator[str] | list[str]) -> None:
        """Count an image by its label or its error's code, and the codes of its warnings."""
        self.images.labels(answer).inc()
        for code in codes:
            self.warnings.labels(code).inc()

    def text(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return generate_latest(self._registry)


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
