"""Logs, metrics and response headers for all requests.

The logs are JSON lines about each request and its result, without the sent data. The metrics are
for Prometheus.
"""

from __future__ import annotations

import json
import logging
import logging.config
import secrets
import traceback
from collections.abc import Iterable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import prometheus_client as prometheus
from starlette.datastructures import MutableHeaders

from pneumonia.inference.bundle import ModelBundle
from pneumonia.server.errors import RequestError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


class JsonFormatter(logging.Formatter):
    """One JSON line per record: time, level, logger, message, and `extra={"fields": {...}}`.

    An exception gives its type and place. Its message is left out: it may contain sent data.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Make the line."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, object] = {"time": time, "level": record.levelname.lower()}
        line |= {"logger": record.name, "message": record.getMessage()}
        line |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[0]:
            line["exception"] = record.exc_info[0].__name__
            frames = traceback.extract_tb(record.exc_info[2])
            line["at"] = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames]
        return json.dumps(line)


def logging_config() -> dict[str, object]:
    """Make the settings for `dictConfig` and uvicorn: write all logs as JSON to standard output.

    `dictConfig` removes the handlers that MLflow and uvicorn added to the loggers below.
    """
    lines = {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stdout"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": JsonFormatter}},
        "handlers": {"lines": lines},
        "root": {"handlers": ["lines"], "level": "WARNING"},
        "loggers": {
            "mlflow": {"propagate": True, "level": "ERROR"},
            "py.warnings": {"level": "ERROR"},
            # The warnings of this library quote headers of the sender.
            "python_multipart": {"level": "ERROR"},
            "pneumonia": {"level": "INFO"},
            "uvicorn": {"level": "INFO"},
        },
    }


SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
TENTHS = tuple(step / 10 for step in range(1, 11))


class Metrics:
    """The metrics of one application; each application has its own registry."""

    def __init__(self, model: ModelBundle) -> None:
        self._registry = prometheus.CollectorRegistry()
        common: Any = {"namespace": "pneumonia", "registry": self._registry}
        prometheus.ProcessCollector(registry=self._registry)
        info = prometheus.Info("model", "The model that is served.", **common)
        graph = model.predictor.graph.sha256
        info.info({"name": model.name, "version": model.version, "graph_sha256": graph})
        route = ["route", "method"]
        self.requests = prometheus.Counter("requests", "Responses.", [*route, "status"], **common)
        self.request_seconds = prometheus.Histogram(
            "request_seconds", "From first byte to response.", route, buckets=SECONDS, **common
        )
        self.in_flight = prometheus.Gauge("requests_in_flight", "Requests in progress.", **common)
        self.images = prometheus.Counter(
            "images", "Images by label, or by code of the error.", ["answer"], **common
        )
        self.warnings = prometheus.Counter("warnings", "Warnings about images.", ["code"], **common)
        self.probability = prometheus.Histogram(
            "probability", "Of pneumonia, of the images of /predict.", buckets=TENTHS, **common
        )
        self.step_seconds = prometheus.Histogram(
            "step_seconds", "Steps of predicting an image.", ["step"], buckets=SECONDS, **common
        )

    def step(self, name: str) -> AbstractContextManager[Any]:
        """Measure the time of a `with` block."""
        return self.step_seconds.labels(name).time()

    def count_image(self, answer: str, warning_codes: Iterable[str]) -> None:
        """Count an image by its label or its error code, and count its warnings."""
        self.images.labels(answer).inc()
        for code in warning_codes:
            self.warnings.labels(code).inc()

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return prometheus.generate_latest(self._registry)


NO_PAGE = "default-src 'none'; frame-ancestors 'none'"
# A page may load only files of this server; images may also be data URLs.
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

_log = logging.getLogger("pneumonia.access")


class ObservabilityMiddleware:
    """The outermost ASGI middleware: log, count, add headers, and answer all exceptions."""

    def __init__(self, app: ASGIApp, metrics: Metrics, paths: frozenset[str]) -> None:
        self.app = app
        self.metrics = metrics
        self.paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to a request, also after any exception."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, request_id, status = perf_counter(), secrets.token_hex(8), 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _add_headers(MutableHeaders(scope=message), request_id)
            await send(message)

        with self.metrics.in_flight.track_inprogress():
            try:
                await self.app(scope, receive, send_with_headers)
            except RequestError as error:
                await error.response()(scope, receive, send_with_headers)
            except Exception:
                _log.exception("unhandled exception", extra={"fields": {"request": request_id}})
                if not status:
                    failure = RequestError(
                        500, "internal_error", "request", "unhandled exception: report the id "
                        f"{request_id} to the operator of this server",
                    )  # fmt: skip
                    await failure.response()(scope, receive, send_with_headers)
        seconds = perf_counter() - start
        # Only known paths are logged, because the sender chooses all other paths. A request that
        # was refused early has no route yet.
        path = scope["path"] if scope["path"] in self.paths else ""
        route = getattr(scope.get("route"), "path", path)
        method = scope["method"] if route else ""
        self.metrics.requests.labels(route, method, status).inc()
        self.metrics.request_seconds.labels(route, method).observe(seconds)
        fields = {"route": route, "method": method, "status": status}
        fields |= {"milliseconds": round(1000 * seconds, 1), "request": request_id}
        _log.info("answered", extra={"fields": fields})


def _add_headers(headers: MutableHeaders, request_id: str) -> None:
    is_page = headers.get("content-type", "").startswith("text/html")
    added = HEADERS | {
        "Content-Security-Policy": PAGE if is_page else NO_PAGE,
        "Cache-Control": "no-cache" if "etag" in headers else "no-store",
        "X-Request-ID": request_id,
    }
    for name, value in added.items():
        headers.setdefault(name, value)
