"""The way of an image through the application: a thread a core decodes, infers and draws."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import Any

import numpy as np

from pneumonia.images.decoding import encode_png
from pneumonia.images.limits import ImageError
from pneumonia.inference.answers import (
    CheckedImage,
    figures,
    heat_map_png,
    image_error,
    layers,
    read_image,
)
from pneumonia.inference.bundle import ModelBundle
from pneumonia.inference.predictor import NOTICE
from pneumonia.server.forms import Upload
from pneumonia.server.limits import Limits
from pneumonia.server.observability import Metrics

NOTHING = (
    "label", "probability", "threshold", "milliseconds", "warnings", "heat_map_png", "heat_map",
    "error",
)  # fmt: skip


class Answering:
    """Answers images of any request, for one event loop.

    Images that are there at the same time, of one request or of several, go side by side, each on a
    core of its own: nobody waits for company. An image that is alone has all cores.
    """

    def __init__(self, model: ModelBundle, limits: Limits, metrics: Metrics) -> None:
        self.model = model
        self._limits = limits
        self._metrics = metrics
        self._images = 0  # that are being answered
        sha256 = model.predictor.graph.sha256
        self._common = {
            "model": {"name": model.name, "version": model.version, "sha256": sha256},
            "notice": NOTICE,
        }

    def warm_up(self) -> None:
        """Do once what the first image and the first two together would have to wait for."""
        import pneumonia.images.dicom  # noqa: F401 - half a second

        size = self.model.predictor.graph.size
        image = read_image(self.model, encode_png(np.zeros((size, size), np.uint8)))
        for alone in (True, False):
            self._tell(image, True, alone)

    async def answer(self, uploads: list[Upload], with_layers: bool) -> dict[str, Any]:
        """The body of an answer to one request: a prediction, or an error, for each image."""
        rows = await asyncio.gather(*(self._one(upload, with_layers) for upload in uploads))
        return self._common | {"predictions": rows}

    async def _one(self, upload: Upload, with_layers: bool) -> dict[str, Any]:
        alone = not self._images
        self._images += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self.model.pool, self._row, upload, with_layers, alone, perf_counter()
            )
        finally:
            self._images -= 1

    def _row(self, upload: Upload, with_layers: bool, alone: bool, begun: float) -> dict[str, Any]:
        metrics = self._metrics
        metrics.step_seconds.labels("wait").observe(perf_counter() - begun)
        row = {"file": upload.name, **dict.fromkeys(NOTHING)}
        try:
            with metrics.step("decode"):
                image = read_image(self.model, upload.payload, self._limits.pixels)
        except ImageError as error:
            refused = image_error(error)
            metrics.count_image(refused["code"], [])
            return row | {"error": refused}
        told = self._tell(image, with_layers, alone)
        metrics.count_image(told["label"], [one["code"] for one in image.warnings])
        metrics.probability.observe(told["probability"])
        took = round(1000 * (perf_counter() - begun), 2)
        return row | told | {"warnings": image.warnings, "milliseconds": took}

    def _tell(self, image: CheckedImage, with_layers: bool, alone: bool) -> dict[str, Any]:
        predictor = self.model.predictor
        scale = predictor.point.map_scale
        with self._metrics.step("infer"):
            [logit], [heat_map] = predictor.graph.run(image.pixels[None, ..., None], not alone)
        with self._metrics.step("draw"):
            prediction = predictor.read(image.pixels, logit, heat_map)
            told = figures(prediction) | {
                "heat_map_png": heat_map_png(prediction, scale),
                "heat_map": {"grid": heat_map.tolist(), "scale": scale},
            }
            return told | (layers(prediction, scale) if with_layers else {})
