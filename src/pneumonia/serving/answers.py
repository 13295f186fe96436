"""From a file's bytes to what is told about it; the same for /predict and /invocations."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumonia.data.bounds import MAX_PIXELS
from pneumonia.data.image import decode
from pneumonia.explain.overlay import heat_layer, overlay
from pneumonia.predictor import Prediction
from pneumonia.serving.png import encode_png
from pneumonia.serving.served import ServedModel
from pneumonia.serving.warnings import warn


@dataclass(frozen=True)
class CheckedImage:
    """An image that was read.

    Attributes:
        pixels: the square that the graph sees, uint8, (S, S).
        warnings: doubts about it, each with `code` and `message`.
    """

    pixels: NDArray[np.uint8]
    warnings: list[dict[str, str]]


def read_image(model: ServedModel, payload: bytes, max_pixels: int = MAX_PIXELS) -> CheckedImage:
    """Decode a file and look for what makes its answer doubtful.

    Raises:
        ImageError: no usable image, or over `max_pixels`.
    """
    decoded = decode(payload, model.predictor.graph.size, max_pixels)
    told = warn(payload, decoded, model.plausibility)
    return CheckedImage(
        decoded.pixels, [{"code": one.code, "message": one.message} for one in told]
    )


def figures(prediction: Prediction) -> dict[str, Any]:
    """The figures of an answer."""
    return {
        "label": prediction.label,
        "probability": prediction.probability,
        "threshold": prediction.threshold,
    }


def heat_map_png(prediction: Prediction, scale: float) -> str:
    """The map laid over the image: PNG, base64."""
    return _base64(encode_png(overlay(prediction.image, prediction.heat_map, scale)))


def layers(prediction: Prediction, scale: float) -> dict[str, str]:
    """CheckedImage and map as two pictures of one size, PNG, base64."""
    heat = heat_layer(prediction.heat_map, scale, prediction.image.shape[0])
    return {
        "image_png": _base64(encode_png(prediction.image)),
        "heat_layer_png": _base64(encode_png(heat)),
    }


def _base64(payload: bytes) -> str:
    return base64.b64encode(payload).decode()
