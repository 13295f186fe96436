"""Shortcut probes: models that predict the label from features that a diagnosis should not use.

Each probe is a linear model. Compare a network's AUC with the AUC of each probe on the same test
images: the network may reach a probe's AUC by the same shortcut.
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
from pneumonia.stats.bootstrap import bootstrap, percentile_interval
from pneumonia.stats.metrics import ranked

# The features of each probe, as the report describes them.
PROBES = {
    "file": "size, aspect and bytes of the source file",
    "border": "the outer 8 px of a 224 px image",
    "thumbnail": "the image at 8x8 px",
}
_PENALTY = 0.1  # scikit-learn's C; low enough for 400 features of only a few hundred images


@dataclass(frozen=True)
class Probe:
    """A probe's AUC on the test images, and its 95 % interval from `low` to `high`; 0 to 1."""

    auc: float
    low: float
    high: float


def run_probes(table: pd.DataFrame, survey: Survey, resamples: int, seed: int) -> dict[str, Probe]:
    """Train each probe of `PROBES` on the train images and score it on the test images.

    Both splits need images of both labels. The intervals come from a bootstrap of the patients.
    """
    count = len(table)
    files = table[["width", "height", "bytes"]].assign(aspect=table["width"] / table["height"])
    thumbnails = survey.thumbnails.reshape(count, 8, 4, 8, 4).mean(axis=(2, 4))
    features = {
        "file": files.to_numpy(np.float64),
        "border": survey.frames.astype(np.float64),
        "thumbnail": thumbnails.reshape(count, -1),
    }
    return {name: run_probe(table, features[name], resamples, seed) for name in PROBES}


def run_probe(
    table: pd.DataFrame, features: NDArray[np.float64], resamples: int, seed: int
) -> Probe:
    """Train and score one probe: a logistic regression on standardised `features`, (N, columns)."""
    train, test = (table["split"] == "train").to_numpy(), (table["split"] == "test").to_numpy()
    labels = table["label"].to_numpy()
    model = make_pipeline(StandardScaler(), LogisticRegression(C=_PENALTY, max_iter=2000))
    model.fit(features[train], labels[train])
    scores = model.decision_function(features[test])
    labels, patients = labels[test], table.loc[test, "patient_id"].to_numpy(str)
    aucs = bootstrap(
        lambda weights: {"auc": ranked(labels, scores, weights)[0]},
        labels, patients, resamples, seed,
    )["auc"]  # fmt: skip
    auc = float(roc_auc_score(labels, scores))
    return Probe(*(round(value, 4) for value in (auc, *percentile_interval(aucs))))
