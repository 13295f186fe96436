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
    """Scored images on which the threshold is chosen, see `robustness.threshold_pool`.

    A model makes almost no errors on the validation images of one hospital. Between the logits of
    the two classes is a wide gap, and all thresholds in the gap are equally good. So the pool also
    has shifted versions of these images. The model's errors on them decide between the thresholds.
    """

    labels: NDArray[np.int64]  #: (N,), 0 or 1, both present
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
        logits: (N,), of the same images, unshifted; the calibration is fitted to these logits.
        maps: float32, (N, h, w), of the same images. Maps of pneumonia give the heat map scale.
        pool: the images on which the threshold is chosen.
    """
    slope, intercept = calibration.fit(method, labels, logits)
    threshold = float(sigmoid(np.array(slope * choose_logit(rule, pool) + intercept)))
    return OperatingPoint(slope, intercept, threshold, heat_scale(maps[labels == 1]))


def choose_logit(rule: str, pool: Pool) -> float:
    """Choose the lowest logit at which an image is called pneumonia.

    Rules:

    - youden: the highest J = sensitivity + specificity - 1 (Youden 1950).
    - sensitivity>=x: the highest specificity with a sensitivity of at least x. If two thresholds
      have the same specificity, the higher sensitivity decides.
    - cost c:d: the lowest total cost, if a missed pneumonia costs c and a false alarm costs d, at
      the pool's prevalence.

    No threshold separates images with equal logits. If several thresholds are equally good, the
    function takes the middle of the widest gap between two images.

    Args:
        rule: one of the rules above; `pneumonia.core.config` has checked its syntax.

    Returns:
        the logit. If no threshold between two images is as good, -inf (every image is called
        pneumonia) or inf (no image is).
    """
    order = np.argsort(pool.logits, kind="stable")
    logits, labels = pool.logits[order].astype(np.float64), pool.labels[order]
    weights = pool.weights[order]
    # Threshold k is between the sorted images k - 1 and k. Images from k on are called pneumonia.
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
    # The two ends are not gaps between images. An end is taken only if no gap is as good.
    gap = np.where(np.isfinite(high - low), high - low, 0.0)
    widest = int(np.argmax(np.where(possible, gap, -1.0)))
    return float((low[widest] + high[widest]) / 2)


def _best(values: NDArray[np.float64], possible: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.isclose(values, values[possible].max(), rtol=0, atol=1e-9)
