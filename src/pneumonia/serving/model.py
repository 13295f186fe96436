"""The registered model, as MLflow logs and serves it: models-from-code, no pickle, no TensorFlow.

Input: a column `image` with the bytes of JPEG, PNG or DICOM files (base64 in JSON). Output: a row a
film.
"""

from __future__ import annotations

import base64
import binascii
import json
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

from pneumonia.data.image import ImageError, encode_png
from pneumonia.evaluation.operating_point import OperatingPoint
from pneumonia.explain.overlay import overlay
from pneumonia.predictor import NOTICE, Graph, Prediction, Predictor
from pneumonia.serving import plausibility


class PneumoniaModel(PythonModel):
    """Graph, preprocessing and operating point behind MLflow's `predict`."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the graph and its operating point, once a process."""
        card = json.loads(Path(context.artifacts["operating_point"]).read_text())
        self.name = card.pop("model")
        self.version = _version(Path(context.artifacts["operating_point"]))
        self.predictor = Predictor(Graph(Path(context.artifacts["graph"])), OperatingPoint(**card))
        statistics = context.artifacts.get("plausibility")
        self.plausibility = plausibility.load(Path(statistics)) if statistics else None

    # MLflow reads type hints here as a schema and supports few; tracking/registration.py has the
    # signature.
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """Answer each row of the column `image`.

        A row that is no usable image has its reason in `error` and nulls elsewhere; it does not
        sink the others.
        """
        frame = pd.DataFrame(model_input)
        answers = [self._answer(value) for value in frame["image"]]
        # As objects, or the nulls of a failed row would become NaN, which is not JSON.
        return pd.DataFrame(answers, dtype=object)

    def _answer(self, value: Any) -> dict[str, Any]:
        answer: dict[str, Any] = dict.fromkeys(
            ("label", "probability", "threshold", "heat_map_png")
        )
        answer |= {"model": self.name, "version": self.version, "error": "", "notice": NOTICE}
        try:
            prediction = self.predictor.predict([_bytes(value)])[0]
        except ImageError as error:
            return answer | {"error": str(error)}
        return answer | {
            "label": prediction.label,
            "probability": prediction.probability,
            "threshold": prediction.threshold,
            "heat_map_png": base64.b64encode(self._overlay(prediction)).decode(),
        }

    def _overlay(self, prediction: Prediction) -> bytes:
        scale = self.predictor.point.map_scale
        return encode_png(overlay(prediction.film, prediction.heat_map, scale))


def _bytes(value: Any) -> bytes:
    """The file's bytes.

    MLflow decodes base64 in `dataframe_*` requests; in `inputs` and `instances` the text arrives as
    it was sent, as string or as bytes. No film is itself base64: JPEG and PNG begin outside ASCII,
    and the tags of DICOM begin with control characters.
    """
    if isinstance(value, str):
        value = value.encode()
    if not isinstance(value, bytes | bytearray):
        raise ImageError("not the bytes of an image file")
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error:
        return bytes(value)


def _version(artifact: Path) -> str:
    """The registered version: MLflow writes it beside a model fetched from the registry."""
    for folder in artifact.parents:
        meta = folder / "registered_model_meta"
        if meta.is_file():
            return str(yaml.safe_load(meta.read_text())["model_version"])
    return ""


set_model(PneumoniaModel())
