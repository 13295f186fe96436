"""Turn the images of a request into the rows of the response.

One thread decodes an image, predicts it and draws its heat map.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from math import inf
from time import perf_counter
from typing import Any

import numpy as np
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, FormParser, parse_options_header

from pneumonia.images.decoding import encode_png
from pneumonia.images.limits import ImageError
from pneumonia.inference.bundle import ModelBundle
from pneumonia.inference.overlay import heat_layer
from pneumonia.inference.predictor import NOTICE, CheckedImage, png_base64
from pneumonia.inference.warnings import image_error
from pneumonia.server.errors import RequestError
from pneumonia.server.invocations import too_many_images
from pneumonia.server.limits import Limits
from pneumonia.server.observability import Metrics

FORM = "multipart/form-data"
FIELD = "files"
MAX_NAME = 255  # most characters of a file name in the response
COLUMNS = (
    "label", "probability", "threshold", "milliseconds", "warnings", "heat_map_png", "heat_map",
    "error",
)  # fmt: skip


@dataclass(frozen=True)
class Upload:
    """A sent file, and its name without folders; the name is None if none was sent."""

    name: str | None
    payload: bytes


def read_form(body: bytes, content_type: str, limits: Limits) -> list[Upload]:
    """Read the field `files` of a multipart form, in order; other fields are ignored.

    Nothing is written to disk. Starlette's parser is not used, as it accepts incomplete forms.

    Raises:
        RequestError: status 400, bad form; 413, more than `limits.images` files; 422, no file.
    """
    uploads: list[Upload] = []
    ends: list[bool] = []  # gets an element when the form is complete

    def keep(part: Field | File) -> None:
        if part.field_name != FIELD.encode():
            return
        if len(uploads) == limits.images:
            raise too_many_images(limits)
        if isinstance(part, Field):
            uploads.append(Upload(None, part.value or b""))
        else:
            part.file_object.seek(0)
            uploads.append(Upload(_clean(part.file_name or b""), part.file_object.read()))

    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    try:
        parser = FormParser(
            FORM, keep, keep, lambda: ends.append(True), boundary,
            config={"MAX_MEMORY_FILE_SIZE": inf},
        )  # fmt: skip
        parser.write(body)
        parser.finalize()
    except FormParserError:
        ends.clear()
    if not ends:
        raise RequestError(
            400, "unreadable_form", "body",
            f"the form is incomplete or malformed: send {FORM} with its boundary",
        )  # fmt: skip
    if not uploads:
        raise RequestError(
            422, "no_files", FIELD, "send at least one image in the form's field `files`"
        )
    return uploads


def _clean(name: bytes) -> str | None:
    """Remove folders and unprintable characters from a file name."""
    last = name.decode("utf-8", "replace").replace("\\", "/").rpartition("/")[2]
    return "".join(letter for letter in last if letter.isprintable())[:MAX_NAME] or None


class PredictionService:
    """Predict the images of all requests; a service belongs to one event loop.

    A single image uses all cores. Images that arrive at the same time are processed in parallel,
    each on one core. No image waits until a batch is full.
    """

    def __init__(self, model: ModelBundle, limits: Limits, metrics: Metrics) -> None:
        self.model = model
        self._limits = limits
        self._metrics = metrics
        self._in_progress = 0  # number of images
        sha256 = model.predictor.graph.sha256
        self._common = {
            "model": {"name": model.name, "version": model.version, "sha256": sha256},
            "notice": NOTICE,
        }

    def warm_up(self) -> None:
        """Predict once on all cores and once on one, so that no request waits for imports."""
        import pneumonia.images.dicom  # noqa: F401 - takes half a second

        predictor = self.model.predictor
        size = predictor.graph.size
        image = predictor.check(encode_png(np.zeros((size, size), np.uint8)))
        for alone in (True, False):
            self._predict_image(image, True, alone)

    async def predict(self, uploads: list[Upload], layers: bool) -> dict[str, Any]:
        """Make the response's body: a prediction or an error per image, in the same order."""
        rows = await asyncio.gather(*(self._submit(upload, layers) for upload in uploads))
        return self._common | {"predictions": rows}

    async def _submit(self, upload: Upload, layers: bool) -> dict[str, Any]:
        alone = not self._in_progress
        self._in_progress += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self.model.pool, self._row, upload, layers, alone, perf_counter()
            )
        finally:
            self._in_progress -= 1

    def _row(self, upload: Upload, layers: bool, alone: bool, start: float) -> dict[str, Any]:
        metrics = self._metrics
        metrics.step_seconds.labels("wait").observe(perf_counter() - start)
        row: dict[str, Any] = {"file": upload.name, **dict.fromkeys(COLUMNS)}
        try:
            with metrics.step("decode"):
                image = self.model.predictor.check(upload.payload, self._limits.pixels)
        except ImageError as error:
            details = image_error(error)
            metrics.count_image(details["code"], [])
            return row | {"error": details}
        row |= self._predict_image(image, layers, alone)
        metrics.count_image(row["label"], [warning.code for warning in image.warnings])
        metrics.probability.observe(row["probability"])
        row["warnings"] = [asdict(warning) for warning in image.warnings]
        return row | {"milliseconds": round(1000 * (perf_counter() - start), 2)}

    def _predict_image(self, image: CheckedImage, layers: bool, alone: bool) -> dict[str, Any]:
        predictor = self.model.predictor
        with self._metrics.step("infer"):
            [logit], [heat_map] = predictor.graph.run(image.pixels[None, ..., None], not alone)
        with self._metrics.step("draw"):
            prediction = predictor.interpret(image, logit, heat_map)
            scale = prediction.map_scale
            row = prediction.figures() | {
                "heat_map_png": prediction.overlay_png(),
                "heat_map": {"grid": heat_map.tolist(), "scale": scale},
            }
            if layers:
                layer = heat_layer(heat_map, scale, len(image.pixels))
                row |= {"image_png": png_base64(image.pixels), "heat_layer_png": png_base64(layer)}
            return row
