"""The registered model as MLflow logs and serves it: as code, without pickle or TensorFlow.

Input: a column `image` with the content of JPEG, PNG or DICOM files (base64 in JSON and CSV).
Output: a table with one row per image.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

from pneumonia.images.limits import MAX_PIXELS, ImageError
from pneumonia.inference.bundle import load_artifacts
from pneumonia.inference.predictor import NOTICE, CheckedImage
from pneumonia.inference.warnings import image_error

BATCH = 32  # number of decoded images in memory at the same time
COLUMNS = ("label", "probability", "threshold", "heat_map_png", "heat_map", "warnings")


class PneumoniaModel(PythonModel):
    """A model with the `predict` method that MLflow calls."""

    max_pixels = MAX_PIXELS

    def load_context(self, context: PythonModelContext) -> None:
        """Load the model's files; MLflow calls this once per process."""
        self.bundle = load_artifacts(context.artifacts)

    # MLflow reads type hints here as a schema and supports only a few, so there are none. The
    # signature is in registry/registration.py.
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """Predict each row; if its image is not usable, `error` has the reason, and no figures."""
        values = list(pd.DataFrame(model_input)["image"])
        rows: list[dict[str, Any]] = []
        for start in range(0, len(values), BATCH):
            rows += self._predict_batch(values[start : start + BATCH])
        # With dtype object, the nulls of a failed row do not become NaN, which is not JSON.
        return pd.DataFrame(rows, dtype=object)

    def _predict_batch(self, values: Sequence[Any]) -> list[dict[str, Any]]:
        bundle = self.bundle
        common = {"model": bundle.source, "version": bundle.version, "notice": NOTICE}
        checked = list(bundle.pool.map(self._check, values))
        images = [image for image in checked if isinstance(image, CheckedImage)]
        predicted = iter(self._predict_images(images))
        failed = dict.fromkeys(COLUMNS)
        return [
            common | (failed | {"error": image} if isinstance(image, str) else next(predicted))
            for image in checked
        ]

    def _check(self, value: Any) -> CheckedImage | str:
        """Return the checked image, or the reason why it is not usable."""
        try:
            return self.bundle.predictor.check(_decode_base64(value), self.max_pixels)
        except ImageError as error:
            return image_error(error)["message"]

    def _predict_images(self, images: Sequence[CheckedImage]) -> list[dict[str, Any]]:
        if not images:
            return []
        predictor = self.bundle.predictor
        logits, maps = predictor.graph.run(np.stack([image.pixels for image in images])[..., None])

        def row(image: CheckedImage, logit: np.float32, heat_map: Any) -> dict[str, Any]:
            prediction = predictor.interpret(image, logit, heat_map)
            return prediction.figures() | {
                "heat_map_png": prediction.overlay_png(),
                "heat_map": heat_map.tolist(),
                "warnings": [asdict(warning) for warning in image.warnings],
                "error": "",
            }

        return list(self.bundle.pool.map(row, images, logits, maps))


def _decode_base64(value: Any) -> bytes:
    """Return the bytes of the image file, decoded where the value is base64.

    MLflow decodes base64 in `dataframe_*` requests. In `inputs`, in `instances` and in CSV, MLflow
    leaves the text as it was sent. No image file is valid base64: JPEG and PNG begin with bytes
    outside ASCII, and the tags of DICOM begin with control characters.

    Raises:
        ImageError: the value is neither bytes nor text.
    """
    if isinstance(value, str):
        value = value.encode()
    if not isinstance(value, bytes | bytearray):
        raise ImageError("not the bytes of an image file", "not_an_image")
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error:
        return bytes(value)


set_model(PneumoniaModel())
