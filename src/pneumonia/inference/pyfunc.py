"""The registered model, as MLflow logs and serves it: models-from-code, no pickle, no TensorFlow.

Input: a column `image` with the bytes of JPEG, PNG or DICOM files (base64 in JSON and CSV). Output:
a row an image.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

from pneumonia.images.limits import MAX_PIXELS, ImageError
from pneumonia.inference.answers import CheckedImage, figures, heat_map_png, image_error, read_image
from pneumonia.inference.bundle import load_bundle
from pneumonia.inference.predictor import NOTICE

BATCH = 32  # images that are held decoded at once
NOTHING = ("label", "probability", "threshold", "heat_map_png", "heat_map", "warnings")


class PneumoniaModel(PythonModel):
    """Graph, preprocessing and operating point behind MLflow's `predict`."""

    max_pixels = MAX_PIXELS

    def load_context(self, context: PythonModelContext) -> None:
        """Load the graph and what lies with it, once a process."""
        self.served = load_bundle(context.artifacts)

    # MLflow reads type hints here as a schema and supports few; registry/registration.py has the
    # signature.
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """Answer each row of the column `image`.

        A row that is no usable image has its reason in `error` and nulls elsewhere; it does not
        sink the others.
        """
        values = list(pd.DataFrame(model_input)["image"])
        answers: list[dict[str, Any]] = []
        for start in range(0, len(values), BATCH):
            answers += self._answers(values[start : start + BATCH])
        # As objects, or the nulls of a failed row would become NaN, which is not JSON.
        return pd.DataFrame(answers, dtype=object)

    def _answers(self, values: Sequence[Any]) -> list[dict[str, Any]]:
        served = self.served
        common = {"model": served.source, "version": served.version, "notice": NOTICE}
        read = list(served.pool.map(self._read, values))
        images = [one for one in read if isinstance(one, CheckedImage)]
        told = iter(self._told(images))
        return [
            (next(told) | {"error": ""} if isinstance(one, CheckedImage) else _failed(one)) | common
            for one in read
        ]

    def _read(self, value: Any) -> CheckedImage | str:
        """An image, or why it is none."""
        try:
            return read_image(self.served, _bytes(value), self.max_pixels)
        except ImageError as error:
            return image_error(error)["message"]

    def _told(self, images: Sequence[CheckedImage]) -> list[dict[str, Any]]:
        if not images:
            return []
        predictor = self.served.predictor
        logits, maps = predictor.graph.run(np.stack([image.pixels for image in images])[..., None])

        def tell(image: CheckedImage, logit: np.float32, heat_map: Any) -> dict[str, Any]:
            prediction = predictor.read(image.pixels, logit, heat_map)
            return figures(prediction) | {
                "heat_map_png": heat_map_png(prediction, predictor.point.map_scale),
                "heat_map": heat_map.tolist(),
                "warnings": image.warnings,
            }

        return list(self.served.pool.map(tell, images, logits, maps))


def _failed(reason: str) -> dict[str, Any]:
    return dict.fromkeys(NOTHING) | {"error": reason}


def _bytes(value: Any) -> bytes:
    """The file's bytes.

    MLflow decodes base64 in `dataframe_*` requests; in `inputs` and `instances` and in CSV the text
    arrives as it was sent, as string or as bytes. No image is itself base64: JPEG and PNG begin
    outside ASCII, and the tags of DICOM begin with control characters.

    Raises:
        ImageError: neither.
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
