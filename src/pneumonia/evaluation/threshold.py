"""Where to cut the scores: rules of `evaluate.threshold`, on images that still make errors.

Fix an operating point on validation images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pneumonia.core.config import THRESHOLD_RULE
from pneumonia.inference.operating_point import OperatingPoint
from pneumonia.inference.overlay import heat_scale
from pneumonia.stats import calibration
from pneumonia.stats.calibration import sigmoid


@dataclass(frozen=True)
class Pool:
    """Scored images that a threshold is chosen on.

    A validation split of one hospital is told apart nearly without error, so that every threshold
    in a wide empty gap is the best. The pool holds the validation images together with changed
    versions of them (`robustness.pool`), which fill the gap with errors to decide by.

    Attributes:
        labels: (N,), 0 or 1; both present.
        logits: (N,).
        weights: (N,), above 0, what each version counts.
    """

    labels: NDArray[np.int64]
    logits: NDArray[np.floating]
    weights: NDArray[np.float64]


def choose_logit(rule: str, pool: Pool) -> float:
    """The logit at or above which an image is to be called pneumonia.

    Rules:

    - youden: the highest J = sensitivity + specificity - 1 (Youden 1950).
    - sensitivity>=x: the highest specificity with a sensitivity of at least x; of equals, the
      higher sensitivity.
    - cost c:d: the least cost, where a missed pneumonia costs c and a false alarm d, at the
      prevalence of the pool.

    Images of one logit stay together. Where several thresholds are equally good, the middle of the
    widest gap between two images is taken: its ends lie on single images.

    Args:
        rule: as above; checked in `pneumonia.core.config`.
        pool: of the images.

    Returns:
        -inf where no threshold between two images is as good as calling every image pneumonia, inf
        where none is as good as calling no image so.
    """
    order = np.argsort(pool.logits, kind="stable")
    logits, labels = pool.logits[order].astype(np.float64), pool.labels[order]
    weights = pool.weights[order]
    # Threshold k lies between the sorted images k - 1 and k: from k on all are called.
    missed = np.concatenate([[0], np.cumsum(weights * (labels == 1))])
    cleared = np.concatenate([[0], np.cumsum(weights * (labels == 0))])
    ill, well = missed[-1], cleared[-1]
    sensitivity, specificity = 1 - missed / ill, cleared / well
    low, high = np.append(-np.inf, logits), np.append(logits, np.inf)
    possible = high > low
    asked = THRESHOLD_RULE.fullmatch(rule)
    assert asked, rule
    if asked["sensitivity"]:
        possible &= sensitivity >= float(asked["sensitivity"]) - 1e-9
        possible &= _best(specificity, possible)
        possible &= _best(sensitivity, possible)
    elif asked["missed"]:
        cost = float(asked["missed"]) * missed + float(asked["alarm"]) * (well - cleared)
        possible &= _best(-cost / cost.max(), possible)
    else:
        possible &= _best(sensitivity + specificity, possible)
    # The ends are no gaps between two images, and taken where nothing else is as good.
    gap = np.where(np.isfinite(high - low), high - low, 0.0)
    at = int(np.argmax(np.where(possible, gap, -1.0)))
    return float((low[at] + high[at]) / 2)


def _best(value: NDArray[np.float64], possible: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.isclose(value, value[possible].max(), rtol=0, atol=1e-9)


def fix_operating_point(
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
    threshold = float(sigmoid(np.array(slope * choose_logit(rule, pool) + intercept)))
    return OperatingPoint(slope, intercept, threshold, heat_scale(maps[labels == 1]))
