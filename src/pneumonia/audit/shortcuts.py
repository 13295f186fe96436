"""How much of the label can be read without looking at the lungs.

A linear model on what no diagnosis should rest on. A network's figure on the same test images is to
be read next to these: what a probe reaches, the network may have got in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pneumonia.audit.survey import Survey

# What each probe sees, in the words of the report.
PROBES = {
    "file": "size, aspect and bytes of the source file",
    "border": "the outer 8 px of a 224 px image",
    "thumbnail": "the image at 8x8 px",
}
_PENALTY = 0.1  # C of scikit-learn; holds 400 columns down on a few hundred images


@dataclass(frozen=True)
class Probe:
    """AUC of a probe on the test images with its 95 % interval, each 0 to 1."""

    auc: float
    low: float
    high: float


def run_probes(table: pd.DataFrame, seen: Survey, resamples: int, seed: int) -> dict[str, Probe]:
    """Train each probe on the train images and score it on the test images.

    Args:
        table: the manifest; both labels in train and in test.
        seen: of its images.
        resamples, seed: of the bootstrap behind the intervals.

    Returns:
        by the names of `PROBES`.
    """
    return {
        name: run_probe(table, columns, resamples, seed)
        for name, columns in features(table, seen).items()
    }


def features(table: pd.DataFrame, seen: Survey) -> dict[str, NDArray[np.float64]]:
    """What each probe sees of N images: (N, columns)."""
    count = len(table)
    size = table[["width", "height", "bytes"]].assign(aspect=table["width"] / table["height"])
    eighths = seen.thumbnails.reshape(count, 8, 4, 8, 4).mean(axis=(2, 4))
    return {
        "file": size.to_numpy(np.float64),
        "border": seen.frames.astype(np.float64),
        "thumbnail": eighths.reshape(count, -1),
    }


def run_probe(
    table: pd.DataFrame, columns: NDArray[np.float64], resamples: int, seed: int
) -> Probe:
    """One probe: standardised logistic regression on `columns`, (N, columns)."""
    train, test = (table["split"] == "train").to_numpy(), (table["split"] == "test").to_numpy()
    labels = table["label"].to_numpy()
    model = make_pipeline(StandardScaler(), LogisticRegression(C=_PENALTY, max_iter=2000))
    model.fit(columns[train], labels[train])
    scores = model.decision_function(columns[test])
    patients = table.loc[test, "patient_id"].to_numpy(str)
    low, high = auc_interval(labels[test], scores, patients, resamples, seed)
    return Probe(
        round(float(roc_auc_score(labels[test], scores)), 4), round(low, 4), round(high, 4)
    )


def auc_interval(
    labels: NDArray[np.int64],
    scores: NDArray[np.float64],
    patients: NDArray[np.str_],
    resamples: int,
    seed: int,
) -> tuple[float, float]:
    """95 % percentile interval of the AUC by a bootstrap clustered on patients.

    The draws of `pneumonia.stats.metrics.intervals`, which gives the same numbers and more of
    them, a thousand times slower; and other metrics shall not run the audit again.

    Args:
        labels: (N,), 0 or 1; both present.
        scores: (N,), higher for 1.
        patients: (N,), drawn with replacement, each with all of its images.
        resamples, seed: of the bootstrap.

    Returns:
        low, high.
    """
    rng = np.random.default_rng(seed)
    names, patient_of_image = np.unique(patients, return_inverse=True)
    values, rank = np.unique(scores, return_inverse=True)
    aucs: list[float] = []
    while len(aucs) < resamples:
        counts = np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))
        weights = counts[patient_of_image].astype(np.float64)
        positive = np.bincount(rank, weights * (labels == 1), minlength=len(values))
        negative = np.bincount(rank, weights * (labels == 0), minlength=len(values))
        if min(positive.sum(), negative.sum()) > 0:
            # Mann-Whitney: the negatives below each positive, ties half.
            below = np.cumsum(negative) - negative / 2
            aucs.append(float(positive @ below / (positive.sum() * negative.sum())))
    low, high = np.percentile(aucs, [2.5, 97.5])
    return float(low), float(high)
