"""Metrics of a model's probabilities, with intervals: discrimination, decisions, calibration."""

from __future__ import annotations

import numpy as np

from pneumonia.stats import calibration
from pneumonia.stats.arrays import Floats, Labels, Patients, Scores
from pneumonia.stats.bootstrap import bootstrap, bound_without_exception, percentile_interval
from pneumonia.stats.delong import perfect_auc_bound

Metrics = dict[str, float]
Interval = tuple[float, float]
PREVALENCES = (5, 10, 20)  # per cent
CALIBRATION = ("brier", "ece", "calibration_slope", "calibration_intercept")


def score(
    labels: Labels,
    probability: Floats,
    threshold: float,
    weights: Floats | None = None,
    ranking: Scores | None = None,
) -> Metrics:
    """Compute discrimination, decisions at the threshold, and calibration: see `score_resamples`.

    Both labels must be present. An image is called pneumonia if its probability is at or above the
    threshold. Images have equal weights if `weights`, (N,), is None. Images are ranked by
    `ranking`, or by the probability if `ranking` is None. Pass logits as the ranking: in float64,
    probabilities of almost 1 can be equal though their logits differ.
    """
    weights = np.ones(len(labels)) if weights is None else weights
    metrics = score_resamples(labels, probability, threshold, weights[None], ranking)
    return {name: float(values[0]) for name, values in metrics.items()}


def score_resamples(
    labels: Labels,
    probability: Floats,
    threshold: float,
    weights: Floats,
    ranking: Scores | None = None,
) -> dict[str, Floats]:
    """Compute `score` for B resamples at once; in each, an image has a weight of 0 or more.

    Returns:
        arrays, (B,). Values from 0 to 1: auc, average_precision, the metrics of `decisions`, brier,
        and ece (expected calibration error). Any number: calibration_slope, calibration_intercept.
    """
    auc, precision = ranked(labels, probability if ranking is None else ranking, weights)
    called, positive = probability >= threshold, labels == 1
    ill, well = weights @ positive, weights @ ~positive
    sensitivity = weights @ (called & positive) / ill
    specificity = weights @ (~called & ~positive) / well
    return {
        "auc": auc,
        "average_precision": precision,
        **decisions(sensitivity, specificity, ill / (ill + well)),
        "brier": weights @ (probability - labels) ** 2 / (ill + well),
        "ece": calibration.expected_calibration_error(labels, probability, weights),
        "calibration_slope": calibration.calibration_slope(labels, probability, weights),
        "calibration_intercept": calibration.calibration_intercept(labels, probability, weights),
    }


def ranked(labels: Labels, ranking: Scores, weights: Floats) -> tuple[Floats, Floats]:
    """AUC (Mann-Whitney; a tie counts half) and average precision (weighted by gain in recall).

    Each row of weights must have images of both classes. Returns both metrics, (B,), 0 to 1.
    """
    order = np.argsort(-ranking, kind="stable")
    starts = np.flatnonzero(np.diff(ranking[order], prepend=np.inf))  # where groups of ties start
    counted = weights[:, order]
    ill = np.add.reduceat(counted * (labels[order] == 1), starts, axis=1)
    well = np.add.reduceat(counted * (labels[order] == 0), starts, axis=1)
    above, false = ill.cumsum(axis=1), well.cumsum(axis=1)
    all_ill, all_well = above[:, -1], false[:, -1]
    auc = (ill * (all_well[:, None] - false + well / 2)).sum(axis=1) / (all_ill * all_well)
    # Where no image is counted yet, precision is 0 / 0, but recall gains nothing there.
    precision = above / np.maximum(above + false, 1e-300)
    return auc, (ill * precision).sum(axis=1) / all_ill


def decisions(sensitivity: Floats, specificity: Floats, prevalence: Floats) -> dict[str, Floats]:
    """Metrics that follow from sensitivity, specificity and prevalence (equal shapes, 0 to 1).

    Returns:
        accuracy, balanced_accuracy, sensitivity, specificity; ppv and npv, and both for 5, 10 and
        20 % prevalence (Bayes' theorem), with names like `ppv_at_5`; f1; mcc (Matthews 1975), from
        -1 to 1. 0 / 0 is 0, as in scikit-learn: the PPV is 0 if no image is called pneumonia.
    """
    hit, cleared = sensitivity * prevalence, specificity * (1 - prevalence)
    missed, alarm = prevalence - hit, 1 - prevalence - cleared
    correlation = np.sqrt(
        np.maximum((hit + alarm) * (cleared + missed), 0) * prevalence * (1 - prevalence)
    )
    metrics = {
        "accuracy": hit + cleared, "balanced_accuracy": (sensitivity + specificity) / 2,
        "sensitivity": sensitivity, "specificity": specificity,
        "ppv": _share(hit, alarm), "npv": _share(cleared, missed),
    }  # fmt: skip
    for per_cent in PREVALENCES:
        ill, well = per_cent / 100, 1 - per_cent / 100
        metrics[f"ppv_at_{per_cent}"] = _share(ill * sensitivity, well * (1 - specificity))
        metrics[f"npv_at_{per_cent}"] = _share(well * specificity, ill * (1 - sensitivity))
    product = hit * cleared - alarm * missed
    return metrics | {
        "f1": _share(2 * hit, missed + alarm),
        "mcc": np.divide(product, correlation, np.zeros_like(product), where=correlation > 1e-12),
    }


def intervals(
    labels: Labels,
    probability: Floats,
    threshold: float,
    patients: Patients,
    resamples: int,
    seed: int,
    ranking: Scores | None = None,
) -> dict[str, Interval]:
    """Compute 95 % intervals of the metrics of `score` by a bootstrap of patients.

    The intervals are percentile intervals, with two exceptions: the calibration error (see
    `calibration.calibration_error_interval`), and metrics of a class in which no image is wrong.
    Then no resample has a wrong image either (see `_without_error`).
    """

    def statistic(weights: Floats) -> dict[str, Floats]:
        metrics = score_resamples(labels, probability, threshold, weights, ranking)
        return metrics | {"gaps": calibration.calibration_gaps(labels, probability, weights)}

    resampled = bootstrap(statistic, labels, patients, resamples, seed)
    gaps = resampled.pop("gaps")
    estimate = score(labels, probability, threshold, ranking=ranking)
    bounds = {name: percentile_interval(values) for name, values in resampled.items()}
    bounds["ece"] = calibration.calibration_error_interval(labels, probability, gaps)
    return bounds | _without_error(estimate, bounds, labels, patients)


def _without_error(
    estimate: Metrics, bounds: dict[str, Interval], labels: Labels, patients: Patients
) -> dict[str, Interval]:
    """Intervals for metrics without an error; the bootstrap gives only a single point for them.

    Sensitivity and specificity get Clopper and Pearson's limit for the number of patients: a lower
    limit if the metric is 1, an upper limit if it is 0. The metrics of `decisions` get a lower
    limit that follows from these limits. An AUC of 1 gets the limit of `delong.auc_interval`. If
    the AUC is 1, so is the average precision. Its limit is the average precision of a ranking that
    has the AUC's limit and puts a share 1 - AUC of the normal images above all other images. Few
    rankings with that AUC have a lower average precision.
    """
    ill, well = (len(np.unique(patients[labels == label])) for label in (1, 0))
    sensitivity, specificity = (
        np.array(bound_without_exception(count) if estimate[name] == 1 else estimate[name])
        for name, count in (("sensitivity", ill), ("specificity", well))
    )
    lowest = decisions(sensitivity, specificity, np.array(labels.mean()))
    corrected = {
        name: (float(value), 1.0) for name, value in lowest.items() if bounds[name][0] > 1 - 1e-9
    }
    for name, count in (("sensitivity", ill), ("specificity", well)):
        if estimate[name] == 0:
            corrected[name] = 0.0, 1 - bound_without_exception(count)
    if bounds["auc"][0] > 1 - 1e-9:
        lowest_auc = perfect_auc_bound(ill, well, 0.95)
        corrected["auc"] = lowest_auc, 1.0
        # The number of false alarms above all other images, per image with pneumonia.
        alarms = (1 - lowest_auc) * (1 - labels.mean()) / labels.mean()
        corrected["average_precision"] = float(1 - alarms * np.log1p(1 / alarms)), 1.0
    return corrected


def _share(part: Floats, rest: Floats) -> Floats:
    """part / (part + rest), 0 where both are 0."""
    rest = np.maximum(rest, 0)  # rounding can make `rest` negative
    return np.divide(part, part + rest, np.zeros_like(part + rest), where=part + rest > 1e-12)
