"""From an image to a prediction, for reports, scoring and the server.

It needs ONNX Runtime, NumPy, Pillow and, for DICOM, pydicom and imagecodecs, but no TensorFlow.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pneumonia.core import files
from pneumonia.images.decoding import decode
from pneumonia.images.limits import MAX_PIXELS
from pneumonia.inference.operating_point import OperatingPoint
from pneumonia.inference.overlay import encode_png_fast, overlay
from pneumonia.inference.plausibility import Plausibility
from pneumonia.inference.warnings import ImageWarning, warn

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


NOTICE = (
    "Not a medical device. For research and teaching; "
    "a prediction here must not guide anyone's care."
)
LABELS = ("NORMAL", "PNEUMONIA")


@dataclass(frozen=True)
class CheckedImage:
    """A decoded image."""

    pixels: NDArray[np.uint8]  #: the grey square that the graph receives, uint8, (S, S)
    warnings: list[ImageWarning]  #: reasons to doubt a prediction for this image


@dataclass(frozen=True)
class Prediction:
    """The prediction for one image."""

    label: str  #: NORMAL or PNEUMONIA, by the threshold
    probability: float  #: calibrated probability of pneumonia, 0 to 1
    threshold: float  #: lowest probability that is labelled PNEUMONIA, 0 to 1
    logit: float  #: the first output of the graph
    image: NDArray[np.uint8]  #: the grey square that the graph received, uint8, (S, S)
    heat_map: NDArray[np.float32]  #: class activation map, float32, (h, w), not negative, in logits
    map_scale: float  #: value of `heat_map` drawn as the hottest colour
    warnings: list[ImageWarning]  #: reasons to doubt the prediction

    def overlay(self, opacity: float = 0.6) -> NDArray[np.uint8]:
        """Draw the heat map over the image, uint8, (S, S, 3); the hottest has `opacity`."""
        return overlay(self.image, self.heat_map, self.map_scale, opacity)

    def overlay_png(self) -> str:
        """The overlay as a PNG in base64, for JSON."""
        return png_base64(self.overlay())

    def figures(self) -> dict[str, Any]:
        """Label, probability and threshold, for JSON and tables."""
        return {"label": self.label, "probability": self.probability, "threshold": self.threshold}


def png_base64(pixels: NDArray[np.uint8]) -> str:
    """Encode pixels by `encode_png_fast` as a PNG in base64, for JSON."""
    return base64.b64encode(encode_png_fast(pixels)).decode()


class Graph:
    """An exported graph in ONNX Runtime; it is loaded once, and several threads may call it.

    A single image uses all cores. Several images run in parallel, each on one core. As one batch,
    eight images are a quarter slower on two cores, as their layers do not fit into the cache.
    """

    def __init__(
        self, path: Path, threads: int = 0, sha256: str = "", remedy: str = files.REPAIR
    ) -> None:
        """Load the graph for this number of threads; 0 means all cores.

        `files.read_checked` gets `sha256` and `remedy`, and raises the errors.
        """
        payload = files.read_checked(path, sha256, remedy)
        threads = threads or len(os.sched_getaffinity(0))
        self._all_cores = _session(payload, threads)
        self._one_core = _session(payload, 1) if threads > 1 else self._all_cores
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="graph")
        self.sha256 = hashlib.sha256(payload).hexdigest()
        self.size: int = self._all_cores.get_inputs()[0].shape[1]

    def run(
        self, images: NDArray[np.uint8], on_one_core: bool = False
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Compute logits (N,) and class activation maps (N, h, w) of images (N, S, S, 1), N > 0.

        Set `on_one_core` where several threads call at the same time.
        """
        if on_one_core:
            return _run(self._one_core, images)
        if len(images) == 1:
            return _run(self._all_cores, images)
        singles = (images[row : row + 1] for row in range(len(images)))
        logits, maps = zip(*self._pool.map(partial(_run, self._one_core), singles), strict=True)
        return np.concatenate(logits), np.concatenate(maps)


def _session(payload: bytes, threads: int) -> InferenceSession:
    # This turns telemetry off. The library reads the variable when it is loaded.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(payload, options, providers=["CPUExecutionProvider"])


def _run(
    session: InferenceSession, images: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    logits, maps = session.run(["logit", "map"], {"image": images})
    return logits, maps


@dataclass(frozen=True, eq=False)
class Predictor:
    """A graph, its preprocessing and the checks of its input, all from one training."""

    graph: Graph
    point: OperatingPoint
    plausibility: Plausibility | None = None  #: if None, there are fewer warnings

    def predict(self, image: str | Path | bytes) -> Prediction:
        """Predict one image, given as the path or the content of a JPEG, PNG or DICOM file.

        Raises:
            ImageError: the file is not a usable image.
            OSError: the file cannot be read.
        """
        return self.predict_batch([image])[0]

    def predict_batch(self, images: Sequence[str | Path | bytes]) -> list[Prediction]:
        """Predict several images in one call of the graph; `predict` names the errors."""
        if not images:
            return []
        checked = [
            self.check(image if isinstance(image, bytes) else Path(image).read_bytes())
            for image in images
        ]
        logits, maps = self.graph.run(np.stack([image.pixels for image in checked])[..., None])
        return [self.interpret(*outputs) for outputs in zip(checked, logits, maps, strict=True)]

    def check(self, payload: bytes, max_pixels: int = MAX_PIXELS) -> CheckedImage:
        """Decode a JPEG, PNG or DICOM file and look for reasons to doubt a prediction.

        Raises:
            ImageError: the file is not a usable image, or has more than `max_pixels` pixels.
        """
        decoded = decode(payload, self.graph.size, max_pixels)
        return CheckedImage(decoded.pixels, warn(payload, decoded, self.plausibility))

    def interpret(
        self, image: CheckedImage, logit: np.float32, heat_map: NDArray[np.float32]
    ) -> Prediction:
        """Make the prediction for one image from the outputs of the graph."""
        probability = float(self.point.probability(np.asarray(logit)))
        return Prediction(
            label=LABELS[int(probability >= self.point.threshold)],
            probability=probability,
            threshold=self.point.threshold,
            logit=float(logit),
            image=image.pixels,
            heat_map=heat_map,
            map_scale=self.point.map_scale,
            warnings=image.warnings,
        )
