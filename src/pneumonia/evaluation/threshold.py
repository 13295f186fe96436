"""Choose the operating point on validation images: calibration, threshold, heat map scale."""

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
    """Scored images that the threshold is chosen on, see `robustness.threshold_pool`.

    A model separates the validation images of one hospital almost without error, so every threshold
    in a wide gap between the classes is equally good. The pool also holds shifted versions of these
    images. Their errors lie in the gap and decide between the thresholds.
    """

    labels: NDArray[np.int64]  #: (N,), 0 or 1; both present
    logits: NDArray[np.floating]  #: (N,)
    weights: NDArray[np.float64]  #: (N,), above 0, the weight of each version


def choose_operating_point(
    labels: NDArray[np.int64],
    logits: NDArray[np.floating],
    maps: NDArray[np.float32],
    pool: Pool,
    rule: str,
    method: str,
) -> OperatingPoint:
    """Choose calibration, threshold and heat map scale.

    Args:
        labels: (N,), 0 or 1, both present, of the validation images.
        logits: (N,), of the same images, unshifted; the calibration is fitted to them.
        maps: float32, (N, h, w), of the same images; those with pneumonia give the heat map scale.
        pool: the threshold is chosen on it.
    """
    slope, intercept = calibration.fit(method, labels, logits)
    threshold = float(sigmoid(np.array(slope * choose_logit(rule, pool) + intercept)))
    return OperatingPoint(slope, intercept, threshold, heat_scale(maps[labels == 1]))


def choose_logit(rule: str, pool: Pool) -> float:
    """Choose the logit from which an image is called pneumonia.

    Rules:

    - youden: the highest J = sensitivity + specificity - 1 (Youden 1950).
    - sensitivity>=x: the highest specificity with a sensitivity of at least x; of equals, the
      higher sensitivity.
    - cost c:d: the lowest cost, where a missed pneumonia costs c and a false alarm d, at the
      prevalence of the pool.

    No threshold separates images of equal logits. Of equally good thresholds, the middle of the
    widest gap between two images is taken.

    Args:
        rule: as above; checked in `pneumonia.core.config`.

    Returns:
        -inf (every image is called pneumonia) or inf (none is) where no threshold between two
        images is as good.
    """
    order = np.argsort(pool.logits, kind="stable")
    logits, labels = pool.logits[order].astype(np.float64), pool.labels[order]
    weights = pool.weights[order]
    # Threshold k lies between the sorted images k - 1 and k: images from k on are called pneumonia.
    missed = np.concatenate([[0], np.cumsum(weights * (labels == 1))])
    cleared = np.concatenate([[0], np.cumsum(weights * (labels == 0))])
    ill, well = missed[-1], cleared[-1]
    sensitivity, specificity = 1 - missed / ill, cleared / well
    low, high = np.append(-np.inf, logits), np.append(logits, np.inf)
    possible = high > low
    parsed = THRESHOLD_RULE.fullmatch(rule)
    assert parsed, rule
    if parsed["sensitivity"]:
        possible &= sensitivity >= float(parsed["sensitivity"]) - 1e-9
        possible &= _best(specificity, possible)
        possible &= _best(sensitivity, possible)
    elif parsed["missed"]:
        cost = float(parsed["missed"]) * missed + float(parsed["alarm"]) * (well - cleared)
        possible &= _best(-cost / cost.max(), possible)
    else:
        possible &= _best(sensitivity + specificity, possible)
    # The two ends are not gaps between images; they are taken only if nothing else is as good.
    gap = np.where(np.isfinite(high - low), high - low, 0.0)
    widest = int(np.argmax(np.where(possible, gap, -1.0)))
    return float((low[widest] + high[widest]) / 2)


def _best(values: NDArray[np.float64], possible: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.isclose(values, values[possible].max(), rtol=0, atol=1e-9)
