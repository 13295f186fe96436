"""What is fixed on validation and travels with a model: calibration, threshold, heat scale."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class OperatingPoint:
    """How a graph's outputs become an answer.

    Attributes:
        temperature: probability = sigmoid(logit / temperature) (Guo et al. 2017), above 0.
        threshold: probability at or above which a film is called pneumonia, 0 to 1.
        map_scale: activation, in the logit's units, shown as the hottest colour; the same for every
            film, so that a faint map looks faint.
    """

    temperature: float
    threshold: float
    map_scale: float

    def probability(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """Calibrated probability of pneumonia, float64, 0 to 1, of the shape of `logits`."""
        return sigmoid(logits.astype(np.float64) / self.temperature)


def sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The logistic function, without overflow."""
    return np.exp(-np.logaddexp(0, -values))


def fix(
    labels: NDArray[np.int64], logits: NDArray[np.float32], maps: NDArray[np.float32]
) -> OperatingPoint:
    """Choose an operating point on validation films.

    The temperature minimises the log loss; the threshold maximises Youden's J; the heat scale is
    the median over the pneumonia films of the hottest cell.

    Args:
        labels: (N,), 0 or 1, both present.
        logits: float32, (N,).
        maps: float32, (N, h, w).
    """
    temperature = fit_temperature(labels, logits)
    probability = sigmoid(logits.astype(np.float64) / temperature)
    hottest = maps[labels == 1].max(axis=(1, 2))
    scale = float(np.median(hottest))
    return OperatingPoint(temperature, youden(labels, probability), scale if scale > 0 else 1.0)


def fit_temperature(labels: NDArray[np.int64], logits: NDArray[np.float32]) -> float:
    """The temperature with the least log loss, sought between 0.05 and 20.

    The targets are Platt's (1999, eq. 11 and after), (n1 + 1) / (n1 + 2) and 1 / (n0 + 2) in place
    of 1 and 0: a validation split that is told apart without error would else pull the temperature
    to zero, and every probability to 0 or 1.
    """
    from scipy.optimize import minimize_scalar

    positives, negatives = (labels == 1).sum(), (labels == 0).sum()
    target = np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def loss(log_temperature: float) -> float:
        scaled = logits.astype(np.float64) / np.exp(log_temperature)
        return float((np.logaddexp(0, scaled) - target * scaled).mean())

    found = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded")
    return float(np.exp(found.x))


def youden(labels: NDArray[np.int64], probability: NDArray[np.float64]) -> float:
    """The threshold with the highest J = sensitivity + specificity - 1 (Youden 1950).

    On a split that is told apart (almost) without error a whole range of thresholds has the highest
    J, and its ends lie on single films. The middle of the widest gap is taken, on the logit's
    scale.
    """
    order = np.argsort(probability, kind="stable")
    sorted_probability, sorted_labels = probability[order], labels[order]
    # Threshold k lies between the sorted films k - 1 and k: from k on all are called positive.
    missed = np.concatenate([[0], np.cumsum(sorted_labels == 1)]) / (labels == 1).sum()
    cleared = np.concatenate([[0], np.cumsum(sorted_labels == 0)]) / (labels == 0).sum()
    j = (cleared - missed)[1:-1]
    low, high = sorted_probability[:-1], sorted_probability[1:]
    gap = np.where(high > low, _logit(high) - _logit(low), -1.0)
    best = np.isclose(j, j[gap >= 0].max(initial=-1.0)) & (gap >= 0)
    if not best.any():  # one and the same probability for every film
        return 0.5
    chosen = np.argmax(np.where(best, gap, -1.0))
    return float(sigmoid(np.array((_logit(high[chosen]) + _logit(low[chosen])) / 2)))


def _logit(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    clipped = np.clip(probability, 1e-12, 1 - 1e-12)
    return np.log(clipped) - np.log1p(-clipped)
