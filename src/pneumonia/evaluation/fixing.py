"""Fix an operating point on validation images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pneumonia.evaluation import calibration
from pneumonia.evaluation.operating_point import OperatingPoint, sigmoid
from pneumonia.evaluation.threshold import Pool, choose
from pneumonia.explain.overlay import heat_scale


def fix(
    labels: NDArray[np.int64],
    logits: NDArray[np.floating],
    maps: NDArray[np.float32],
    pool: Pool,
    rule: str,
    method: str,
) -> OperatingPoint:
    """Choose an operating point.

    Args:
        labels: (N,), 0 or 1, both present, of validation images.
        logits: (N,), of the same images, as they are: they decide the calibration.
        maps: float32, (N, h, w), of the same: those of pneumonia decide the heat scale.
        pool: what the threshold is chosen on.
        rule: of the threshold, see `threshold.choose`.
        method: of the calibration, see `calibration.fit`.
    """
    slope, intercept = calibration.fit(method, labels, logits)
    threshold = float(sigmoid(np.array(slope * choose(rule, pool) + intercept)))
    return OperatingPoint(slope, intercept, threshold, heat_scale(maps[labels == 1]))
