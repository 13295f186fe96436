"""One way from an image to an answer, for the reports and for whoever serves the model.

Needs ONNX Runtime, NumPy, Pillow and, for DICOM, pydicom and imagecodecs; no TensorFlow.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pneumonia.core import files
from pneumonia.images.decoding import decode
from pneumonia.inference.operating_point import OperatingPoint

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


NOTICE = (
    "Not a medical device. For research and teaching; "
    "a prediction here must not guide anyone's care."
)
LABELS = ("NORMAL", "PNEUMONIA")


@dataclass(frozen=True)
class Prediction:
    """The answer for one image.

    Attributes:
        label: NORMAL or PNEUMONIA, by the threshold.
        probability: of pneumonia, calibrated on validation, 0 to 1.
        threshold: the operating point, 0 to 1.
        logit: what the graph gave.
        image: the grey square that the graph saw, uint8, (S, S).
        heat_map: class activation map, float32, (h, w), not negative, in the logit's units.
    """

    label: str
    probability: float
    threshold: float
    logit: float
    image: NDArray[np.uint8]
    heat_map: NDArray[np.float32]


class Graph:
    """An exported graph in ONNX Runtime, loaded once and safe to call from several threads.

    An image alone gets all cores. Several are run side by side, each on a core of its own: one pass
    over eight of them is a quarter slower on two cores, as its layers do not fit a core's cache.
    """

    def __init__(
        self, path: Path, threads: int = 0, sha256: str = "", mend: str = files.REPAIR
    ) -> None:
        """Load the graph; `threads` 0 means all cores, `sha256` and `mend` as for `intact.read`.

        Raises:
            FileNotFoundError: no graph at `path`.
            InputError: it is not the one that was written.
        """
        payload = files.read_checked(path, sha256, mend)
        threads = threads or len(os.sched_getaffinity(0))
        self._alone = _session(payload, threads)
        self._beside = _session(payload, 1) if threads > 1 else self._alone
        self._cores = ThreadPoolExecutor(threads, thread_name_prefix="graph")
        self.sha256 = hashlib.sha256(payload).hexdigest()
        self.size: int = self._alone.get_inputs()[0].shape[1]

    def run(
        self, images: NDArray[np.uint8], on_one_core: bool = False
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Logits (N,) and class activation maps (N, h, w).

        Args:
            images: uint8, (N, S, S, 1), N > 0.
            on_one_core: for who calls this from several threads at once.
        """
        if on_one_core:
            return _run(self._beside, images)
        if len(images) == 1:
            return _run(self._alone, images)
        singly = (images[row : row + 1] for row in range(len(images)))
        logits, maps = zip(*self._cores.map(partial(_run, self._beside), singly), strict=True)
        return np.concatenate(logits), np.concatenate(maps)


def _session(payload: bytes, threads: int) -> InferenceSession:
    # Nothing calls home; it is read when the library is loaded.
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


class Predictor:
    """A graph with its preprocessing and its operating point."""

    def __init__(self, graph: Graph, point: OperatingPoint) -> None:
        """Join them; both come from the same training."""
        self.graph = graph
        self.point = point

    def predict(self, payloads: Sequence[bytes]) -> list[Prediction]:
        """Answer for image files, in one forward pass.

        Args:
            payloads: whole JPEG, PNG or DICOM files.

        Raises:
            ImageError: one of them is no usable image.
        """
        if not payloads:
            return []
        images = np.stack([decode(payload, self.graph.size).pixels for payload in payloads])
        logits, maps = self.graph.run(images[..., None])
        return [self.read(*outputs) for outputs in zip(images, logits, maps, strict=True)]

    def read(
        self, image: NDArray[np.uint8], logit: np.float32, heat_map: NDArray[np.float32]
    ) -> Prediction:
        """The answer for one image, uint8 (S, S), of what the graph gave for it."""
        probability = float(self.point.probability(np.asarray(logit)))
        return Prediction(
            label=LABELS[int(probability >= self.point.threshold)],
            probability=probability,
            threshold=self.point.threshold,
            logit=float(logit),
            image=image,
            heat_map=heat_map,
        )
