"""Compute a model's curves on one split: small tables with 95 % bands (bootstrap of patients)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumonia.datasets.manifest import LABELS
from pneumonia.stats import calibration
from pneumonia.stats.bootstrap import bootstrap, bound_without_exception

FALSE_POSITIVE_RATES = np.arange(101) / 100
RECALLS = np.arange(1, 101) / 100
DECISION_THRESHOLDS = np.arange(1, 100, 2) / 100
SCORE_BINS = 20


def curves(
    predictions: pd.DataFrame, threshold: float, resamples: int, seed: int
) -> dict[str, pd.DataFrame]:
    """Compute all curves.

    Args:
        predictions: one model's predictions for one split with both classes. Columns: label,
            patient_id, logit, probability.

    Returns:
        tables by name. `low` and `high` hold for each point alone, not for the whole curve.

        - roc: fpr, tpr, low, high. tpr is the highest sensitivity whose false positive rate <= fpr.
        - precision_recall: recall, precision, low, high. At the highest threshold with this recall.
        - reliability: see `reliability`.
        - decision: threshold, net_benefit, low, high, treat_all, treat_none (Vickers & Elkin 2006,
          Medical Decision Making 26:565). Net benefit per image is TP / N - FP / N * t / (1 - t)
          if images with a probability >= t are called pneumonia, at the split's prevalence.
        - scores: probability (middle of the bin), normal, pneumonia (numbers of images).
        - confusion: actual, predicted; one row per image, NORMAL or PNEUMONIA.
    """
    labels = predictions["label"].to_numpy()
    probability = predictions["probability"].to_numpy()
    patients = predictions["patient_id"].to_numpy(dtype=str)
    ranking = predictions["logit"].to_numpy()

    def statistic(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        tpr, precision = ranked_curves(labels, ranking, weights)
        return {
            "roc": tpr,
            "precision_recall": precision,
            "decision": net_benefit(labels, probability, weights),
        }

    drawn = bootstrap(statistic, labels, patients, resamples, seed)
    bands = {name: np.nanpercentile(values, [2.5, 97.5], axis=0) for name, values in drawn.items()}
    estimates = statistic(np.ones((1, len(labels))))
    prevalence, odds = labels.mean(), DECISION_THRESHOLDS / (1 - DECISION_THRESHOLDS)

    def with_band(name: str, x: str, grid: NDArray[np.float64], y: str) -> pd.DataFrame:
        low, high = bands[name]
        return pd.DataFrame({x: grid, y: estimates[name][0], "low": low, "high": high})

    return {
        "roc": with_band("roc", "fpr", FALSE_POSITIVE_RATES, "tpr"),
        "precision_recall": with_band("precision_recall", "recall", RECALLS, "precision"),
        "reliability": reliability(predictions, resamples, seed),
        "decision": with_band("decision", "threshold", DECISION_THRESHOLDS, "net_benefit").assign(
            treat_all=prevalence - (1 - prevalence) * odds, treat_none=0.0
        ),
        "scores": _histogram(labels, probability),
        "confusion": pd.DataFrame(
            {
                "actual": np.array(LABELS)[labels],
                "predicted": np.array(LABELS)[(probability >= threshold).astype(int)],
            }
        ).sort_values(["actual", "predicted"], ignore_index=True),
    }


def reliability(predictions: pd.DataFrame, resamples: int, seed: int) -> pd.DataFrame:
    """Compare predicted with observed frequencies by bin; the arguments are those of `curves`.

    Returns:
        table: bin, images, probability (mean), observed (share of pneumonia), low, high. If a bin
        has only one class, so has every resample, and the limit is from `bound_without_exception`.
    """
    labels = predictions["label"].to_numpy()
    grouped = predictions.groupby(calibration.bins(predictions["probability"].to_numpy()))
    member = np.stack([grouped.ngroup() == group for group in range(grouped.ngroups)], axis=1)

    def statistic(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        images, ill = weights @ member, weights @ (member * labels[:, None])
        # A bin may be empty in a resample.
        return {"observed": np.divide(ill, images, np.full_like(images, np.nan), where=images > 0)}

    patients = predictions["patient_id"].to_numpy(dtype=str)
    drawn = bootstrap(statistic, labels, patients, resamples, seed)["observed"]
    low, high = np.nanpercentile(drawn, [2.5, 97.5], axis=0)
    limit = grouped["patient_id"].nunique().map(bound_without_exception)
    observed = grouped["label"].mean()
    table = pd.DataFrame(
        {
            "images": grouped.size(),
            "probability": grouped["probability"].mean(),
            "observed": observed,
            "low": np.where(observed < 1, low, limit),
            "high": np.where(observed > 0, high, 1 - limit),
        }
    )
    return table.rename_axis("bin").reset_index()


def ranked_curves(
    labels: NDArray[np.int64], ranking: NDArray[np.floating], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute true positive rates at `FALSE_POSITIVE_RATES`, and precisions at `RECALLS`.

    Args:
        labels: (N,), 0 or 1.
        ranking: (N,), a score that is higher for label 1. No threshold separates equal scores.
        weights: (B, N), one row per resample; each row has images of both classes.

    Returns:
        true positive rates, (B, 101), and precisions, (B, 100), all from 0 to 1.
    """
    order = np.argsort(-ranking, kind="stable")
    # Last image of each group of equal scores. The padding in front: a threshold above all images.
    ends = np.flatnonzero(np.diff(ranking[order], append=-np.inf))
    ordered = weights[:, order]
    hits = np.pad((ordered * (labels[order] == 1)).cumsum(axis=1)[:, ends], ((0, 0), (1, 0)))
    alarms = np.pad((ordered * (labels[order] == 0)).cumsum(axis=1)[:, ends], ((0, 0), (1, 0)))
    fpr, recall = alarms / alarms[:, -1:], hits / hits[:, -1:]
    precision = hits / np.maximum(hits + alarms, 1e-300)
    row = np.arange(len(weights))
    tprs = [recall[row, (fpr <= rate + 1e-9).sum(axis=1) - 1] for rate in FALSE_POSITIVE_RATES]
    precisions = [precision[row, (recall < wanted - 1e-9).sum(axis=1)] for wanted in RECALLS]
    return np.stack(tprs, axis=1), np.stack(precisions, axis=1)


def net_benefit(
    labels: NDArray[np.int64], probability: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Compute the net benefit at `DECISION_THRESHOLDS`, (B, 50), with `weights`, (B, N)."""
    called = probability[:, None] >= DECISION_THRESHOLDS
    hits, alarms = (weights @ (called & (labels == label)[:, None]) for label in (1, 0))
    costs = alarms * DECISION_THRESHOLDS / (1 - DECISION_THRESHOLDS)
    return (hits - costs) / weights.sum(axis=1, keepdims=True)


def _histogram(labels: NDArray[np.int64], probability: NDArray[np.float64]) -> pd.DataFrame:
    edges = np.arange(SCORE_BINS + 1) / SCORE_BINS
    counts = [np.histogram(probability[labels == label], edges)[0] for label in (0, 1)]
    middles = (2 * np.arange(SCORE_BINS) + 1) / (2 * SCORE_BINS)
    return pd.DataFrame({"probability": middles, "normal": counts[0], "pneumonia": counts[1]})
