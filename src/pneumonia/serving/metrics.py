"""What the application counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from pneumonia.serving.served import ServedModel

__all__ = ["CONTENT_TYPE_LATEST", "Metrics"]

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
TENTHS = tuple(step / 10 for step in range(1, 11))


class Metrics:
    """A registry of its own, so that two applications in a process do not share counts."""

    def __init__(self, model: ServedModel) -> None:
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
