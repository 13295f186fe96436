"""What a model's probabilities are worth, with intervals."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

Metrics = dict[str, float]


def score(
    labels: NDArray[np.int64],
    probability: NDArray[np.float64],
    threshold: float,
    weights: NDArray[np.float64] | None = None,
    ranking: NDArray[np.floating] | None = None,
) -> Metrics:
    """Discrimination, decisions at the threshold, and calibration.

    Args:
        labels: (N,), 0 normal, 1 pneumonia; both present.
        probability: (N,), 0 to 1.
        threshold: a film is called pneumonia at or above it.
        weights: (N,), not negative, what each film counts; all alike if None.
        ranking: (N,), what films are ranked by, the logits; probabilities of almost 1 are equal in
            float64 where their logits differ. The probability if None.

    Returns:
        auc, average_precision, accuracy, sensitivity, specificity and brier, each 0 to 1.
    """
    weights = np.ones(len(labels)) if weights is None else weights
    ranking = probability if ranking is None else ranking
    right = weights * ((probability >= threshold) == labels)
    positive, negative = labels == 1, labels == 0
    return {
        "auc": float(roc_auc_score(labels, ranking, sample_weight=weights)),
        "average_precision": float(average_precision_score(labels, ranking, sample_weight=weights)),
        "accuracy": float(right.sum() / weights.sum()),
        "sensitivity": float(right[positive].sum() / weights[positive].sum()),
        "specificity": float(right[negative].sum() / weights[negative].sum()),
        "brier": float(brier_score_loss(labels, probability, sample_weight=weights)),
    }


def intervals(
    labels: NDArray[np.int64],
    probability: NDArray[np.float64],
    threshold: float,
    patients: NDArray[np.str_],
    resamples: int,
    seed: int,
    ranking: NDArray[np.floating] | None = None,
) -> dict[str, tuple[float, float]]:
    """95 % percentile intervals of `score` by a bootstrap clustered on patients.

    Patients are drawn with replacement, each with all of its films (Field & Welsh 2007, the cluster
    bootstrap): films of one patient are alike, and resampling films would pretend that they are
    not. A resample without films of both classes is drawn again.

    Returns:
        (low, high) of each metric.
    """
    rng = np.random.default_rng(seed)
    names, patient_of_film = np.unique(patients, return_inverse=True)
    draws: list[list[float]] = []
    while len(draws) < resamples:
        counts = np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))
        weights = counts[patient_of_film].astype(np.float64)
        if min(weights[labels == 0].sum(), weights[labels == 1].sum()) > 0:
            draws.append(list(score(labels, probability, threshold, weights, ranking).values()))
    low, high = np.percentile(np.array(draws), [2.5, 97.5], axis=0)
    keys = score(labels, probability, threshold)
    return {key: (float(a), float(b)) for key, a, b in zip(keys, low, high, strict=True)}
