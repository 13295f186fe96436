"""The way of a film through the application: threads decode and draw, the batcher infers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumonia.data.image import ImageError, encode_png
from pneumonia.predictor import NOTICE
from pneumonia.serving.answers import figures, heat_map_png, layers, read_film
from pneumonia.serving.batching import Batcher
from pneumonia.serving.errors import film_error
from pneumonia.serving.forms import Upload
from pneumonia.serving.limits import Limits
from pneumonia.serving.metrics import Metrics
from pneumonia.serving.served import ServedModel

LARGEST_BATCH = 8
NOTHING = (
    "label", "probability", "threshold", "milliseconds", "warnings", "heat_map_png", "heat_map",
    "error",
)  # fmt: skip


class Answering:
    """Answers films of any request, for one event loop."""

    def __init__(self, model: ServedModel, limits: Limits, metrics: Metrics) -> None:
        self.model = model
        self._limits = limits
        self._metrics = metrics
        graph = model.predictor.graph
        self._batcher = Batcher(graph, LARGEST_BATCH, metrics.batch_films.observe)
        self._common = {
            "model": {"name": model.name, "version": model.version, "sha256": graph.sha256},
            "notice": NOTICE,
        }

    def warm_up(self) -> None:
        """Do once what the first film and the largest batch would have to wait for."""
        import pneumonia.data.dicom  # noqa: F401 - half a second

        size = self.model.predictor.graph.size
        films = np.zeros((LARGEST_BATCH, size, size), np.uint8)
        logits, maps = self.model.predictor.graph.run(films[..., None])
        film = read_film(self.model, encode_png(films[0]))
        self._tell(film.pixels, logits[0], maps[0], with_layers=True)

    async def answer(self, uploads: list[Upload], with_layers: bool) -> dict[str, Any]:
        """The body of an answer to one request: a prediction, or an error, for each film."""
        rows = await asyncio.gather(*(self._one(upload, with_layers) for upload in uploads))
        return self._common | {"predictions": rows}

    async def _one(self, upload: Upload, with_layers: bool) -> dict[str, Any]:
        begun = perf_counter()
        row = {"file": upload.name, **dict.fromkeys(NOTHING)}
        try:
            with self._metrics.step("decode"):
                film = await self._in_pool(
                    read_film, self.model, upload.payload, self._limits.pixels
                )
        except ImageError as error:
            told = film_error(error)
            self._metrics.count_film(told["code"], [])
            return row | {"error": told}
        with self._metrics.step("infer"):
            logit, heat_map = await self._batcher.run(film.pixels)
        with self._metrics.step("draw"):
            told = await self._in_pool(self._tell, film.pixels, logit, heat_map, with_layers)
        self._metrics.count_film(told["label"], [one["code"] for one in film.warnings])
        self._metrics.probability.observe(told["probability"])
        took = round(1000 * (perf_counter() - begun), 2)
        return row | told | {"warnings": film.warnings, "milliseconds": took}

    def _tell(
        self,
        film: NDArray[np.uint8],
        logit: np.float32,
        heat_map: NDArray[np.float32],
        with_layers: bool,
    ) -> dict[str, Any]:
        predictor = self.model.predictor
        scale = predictor.point.map_scale
        prediction = predictor.read(film, logit, heat_map)
        told = figures(prediction) | {
            "heat_map_png": heat_map_png(prediction, scale),
            "heat_map": {"grid": heat_map.tolist(), "scale": scale},
        }
        return told | (layers(prediction, scale) if with_layers else {})

    async def _in_pool(self, work: Callable[..., Any], *arguments: Any) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.model.pool, work, *arguments)
