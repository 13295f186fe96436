"""Metrics with intervals.

The data are 600 images of 400 patients with random logits, resampled by patient. This project
computes all metrics of `stats.metrics.intervals`, including the slope and the intercept of the
calibration. The alternative calls scikit-learn for each resample: AUC, average precision, accuracy,
balanced accuracy, sensitivity, specificity, PPV, NPV, F1, MCC and Brier score, without a
calibration.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.measurement import Row, Setting, seconds, take_turns

IMAGES, PATIENTS = 600, 400
OURS, LOOP = 1000, 50  # resamples


def measure(setting: Setting) -> list[Row]:
    """Resamples per second."""
    from pneumonia.stats.metrics import intervals

    rng = np.random.default_rng(7)
    patients = np.array([f"p{number}" for number in rng.integers(0, PATIENTS, IMAGES)])
    labels = rng.integers(0, 2, IMAGES)
    logits = rng.normal(3.0 * labels - 1.5, 1.5)
    probability = 1 / (1 + np.exp(-logits))
    values = take_turns(
        {
            "ours": lambda: (
                OURS
                / seconds(
                    lambda: intervals(labels, probability, 0.5, patients, OURS, 7, ranking=logits)
                )
            ),
            "loop": lambda: LOOP / seconds(lambda: loop(labels, probability, patients, LOOP)),
        },
        setting.turns,
    )
    return [
        Row(
            "resamples of all metrics", "resamples/s", values["ours"],
            "a loop over scikit-learn", values["loop"],
        )
    ]  # fmt: skip


def loop(
    labels: NDArray[np.int64], probability: NDArray[np.float64], patients: NDArray[np.str_],
    resamples: int,
) -> dict[str, tuple[float, float]]:  # fmt: skip
    """95 % intervals as most notebooks compute them."""
    from sklearn import metrics

    rng = np.random.default_rng(7)
    rows = {patient: np.flatnonzero(patients == patient) for patient in np.unique(patients)}
    names = list(rows)
    drawn: list[dict[str, float]] = []
    for _ in range(resamples):
        picked = np.concatenate([rows[name] for name in rng.choice(names, len(names))])
        truth, score = labels[picked], probability[picked]
        called = (score >= 0.5).astype(int)
        drawn.append(
            {
                "auc": metrics.roc_auc_score(truth, score),
                "average_precision": metrics.average_precision_score(truth, score),
                "accuracy": metrics.accuracy_score(truth, called),
                "balanced_accuracy": metrics.balanced_accuracy_score(truth, called),
                "sensitivity": metrics.recall_score(truth, called),
                "specificity": metrics.recall_score(truth, called, pos_label=0),
                "ppv": metrics.precision_score(truth, called),
                "npv": metrics.precision_score(truth, called, pos_label=0),
                "f1": metrics.f1_score(truth, called),
                "mcc": metrics.matthews_corrcoef(truth, called),
                "brier": metrics.brier_score_loss(truth, score),
            }
        )
    return {
        name: tuple(np.percentile([one[name] for one in drawn], [2.5, 97.5])) for name in drawn[0]
    }
