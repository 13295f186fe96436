"""Score both models on validation and test images, choose the better one, write all tables.

The validation images alone decide the operating point and the better model; the test images only
give figures. stages/evaluate.py calls this module, and makes the shifted images (`robustness`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumonia.core.config import EvaluateParams
from pneumonia.core.errors import InputError
from pneumonia.core.files import write_json
from pneumonia.evaluation import robustness, subgroups
from pneumonia.evaluation.curves import curves, reliability
from pneumonia.evaluation.threshold import Pool, choose_operating_point
from pneumonia.inference.operating_point import OperatingPoint
from pneumonia.stats import paired
from pneumonia.stats.calibration import sigmoid
from pneumonia.stats.delong import auc_interval
from pneumonia.stats.metrics import CALIBRATION, Interval, Metrics, intervals, score

SPLITS = ("val", "test")


@dataclass(frozen=True)
class Evaluation:
    """The results of one model."""

    #: one row per validation or test image: image_id, patient_id, split, label, model, logit,
    #: probability.
    predictions: pd.DataFrame
    point: OperatingPoint  #: chosen on validation
    metrics: dict[str, Metrics]  #: by split, see `metrics.score_resamples`
    #: 95 % intervals by split and metric (bootstrap of patients), and `auc_delong`.
    intervals: dict[str, dict[str, Interval]]
    #: the metrics in `CALIBRATION` before calibration (probability = sigmoid of logit), by split.
    uncalibrated: dict[str, Metrics]
    subgroups: pd.DataFrame  #: see `subgroups.subgroups`; the first column is the split
    errors: pd.DataFrame  #: on the test images, see `subgroups.error_rates`
    confident_errors: pd.DataFrame  #: on the test images, see `subgroups.confident_errors`
    #: tables of `curves.curves` for the test images, by name. `reliability_uncalibrated` is the
    #: table before calibration.
    curves: dict[str, pd.DataFrame]


def evaluate_model(
    name: str,
    outputs: tuple[NDArray[np.float32], NDArray[np.float32]],
    rows: pd.DataFrame,
    attributes: pd.DataFrame,
    pool: Pool,
    params: EvaluateParams,
) -> Evaluation:
    """Compute all results of one model from its outputs for the validation and test images.

    Args:
        outputs: logits, (N,), and maps, (N, h, w).
        attributes: the result of `subgroups.image_attributes` for `rows`.
        pool: the result of `robustness.threshold_pool`.
    """
    logits, maps = outputs
    is_val = (rows["split"] == "val").to_numpy()
    labels = rows["label"].to_numpy()
    point = choose_operating_point(
        labels[is_val], logits[is_val], maps[is_val], pool, params.threshold, params.calibration
    )
    predictions = rows[["image_id", "patient_id", "split", "label"]].assign(
        model=name, logit=logits, probability=point.probability(logits)
    )
    resampling = params.bootstrap, params.seed
    metrics, bounds, uncalibrated, tables = {}, {}, {}, []
    for split in SPLITS:
        part = predictions[predictions["split"] == split]
        label, probability = part["label"].to_numpy(), part["probability"].to_numpy()
        logit, patients = part["logit"].to_numpy(), part["patient_id"].to_numpy(dtype=str)
        metrics[split] = score(label, probability, point.threshold, ranking=logit)
        bounds[split] = intervals(label, probability, point.threshold, patients, *resampling, logit)
        bounds[split]["auc_delong"] = auc_interval(label, logit, patients)
        plain = score(label, sigmoid(logit.astype(np.float64)), 0.5)
        uncalibrated[split] = {metric: plain[metric] for metric in CALIBRATION}
        table = subgroups.subgroups(part, attributes.loc[part.index], point.threshold, *resampling)
        tables.append(table.assign(split=split)[["split", *table.columns]])
    test = predictions[predictions["split"] == "test"]
    test_attributes = attributes.loc[test.index]
    test_curves = curves(test, point.threshold, *resampling)
    plain_test = test.assign(probability=sigmoid(test["logit"].to_numpy(dtype=np.float64)))
    test_curves["reliability_uncalibrated"] = reliability(plain_test, *resampling)
    return Evaluation(
        predictions=predictions,
        point=point,
        metrics=metrics,
        intervals=bounds,
        uncalibrated=uncalibrated,
        subgroups=pd.concat(tables, ignore_index=True),
        errors=subgroups.error_rates(test, test_attributes, point.threshold, *resampling),
        confident_errors=subgroups.confident_errors(
            test, rows.loc[test.index], test_attributes, point.threshold
        ),
        curves=test_curves,
    )


def compare_models(
    first: Evaluation, second: Evaluation, params: EvaluateParams
) -> dict[str, paired.Comparison]:
    """Compare two models on the images of each split."""
    thresholds = first.point.threshold, second.point.threshold
    comparisons = {}
    for split in SPLITS:
        one, other = (
            evaluation.predictions[evaluation.predictions["split"] == split]
            for evaluation in (first, second)
        )
        comparisons[split] = paired.compare(one, other, thresholds, params.bootstrap, params.seed)
    return comparisons


def choose_better(evaluations: dict[str, Evaluation], shifts: pd.DataFrame) -> str:
    """Choose the model with the higher mean validation AUC under shift; if equal, by Brier score.

    The AUC on unshifted validation images does not decide, because all good models are near 1. On
    held-out images of the Kermany children, they reach .994 to .998; on the official test set, .95
    to .98. So chance would decide the order of the models. The mean AUC over the shifts still
    separates the models, on the same validation images.

    Args:
        evaluations: by model. The Brier score on unshifted validation images is used; lower wins.
    """

    def rank(name: str) -> tuple[float, float]:
        auc = robustness.summary(shifts, name, "val")["mean"]["auc"]
        return auc, -evaluations[name].metrics["val"]["brier"]

    return max(sorted(evaluations), key=rank)


def read_audit(path: Path) -> dict[str, Any]:
    """Read from audit.json, which `visualize` wrote, the parts that the evaluation uses.

    Returns:
        `probes`: auc, low, high, by name; `near_duplicates`: set of the files in all listed pairs.

    Raises:
        InputError: the file does not exist.
    """
    try:
        audit = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; `dvc repro visualize` writes it") from None
    pairs = audit["near_duplicates"]["listed"]
    return {
        "probes": audit["probes"],
        "near_duplicates": {file for pair in pairs for file in pair["files"]},
    }


def write_files(
    folder: Path,
    evaluations: dict[str, Evaluation],
    shifts: pd.DataFrame,
    comparisons: dict[str, paired.Comparison],
    probes: dict[str, dict[str, float]],
) -> None:
    """Write the CSV tables, metrics.json and comparison.json."""
    aucs = {name: evaluation.intervals["test"]["auc"] for name, evaluation in evaluations.items()}
    tables = {
        "robustness": shifts,
        "intervals": _intervals_table(evaluations),
        "contenders": paired.contenders(comparisons["test"], aucs, probes),
    }
    for title in ("predictions", "subgroups", "errors", "confident_errors"):
        parts = {name: getattr(evaluation, title) for name, evaluation in evaluations.items()}
        tables[title] = pd.concat(
            [
                part if "model" in part else part.assign(model=name)[["model", *part.columns]]
                for name, part in parts.items()
            ],
            ignore_index=True,
        )
    for name, evaluation in evaluations.items():
        tables |= {f"curves/{curve}_{name}": part for curve, part in evaluation.curves.items()}
    (folder / "curves").mkdir()
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n")
    write_json(folder / "metrics.json", _metrics_by_split(evaluations, shifts))
    write_json(
        folder / "comparison.json",
        {split: comparison.as_dict() for split, comparison in comparisons.items()},
    )


def _metrics_by_split(
    evaluations: dict[str, Evaluation], shifts: pd.DataFrame
) -> dict[str, dict[str, dict[str, Any]]]:
    """Collect the metrics by model, split and metric; bounds are named `auc_low` and `auc_high`.

    `uncalibrated` has the metrics before calibration; `robustness` has `robustness.summary`.
    Predictive values at other prevalences are only in intervals.csv.
    """
    content: dict[str, dict[str, dict[str, Any]]] = {}
    for name, evaluation in evaluations.items():
        content[name] = {}
        for split in SPLITS:
            values = dict(evaluation.metrics[split])
            for metric, (low, high) in evaluation.intervals[split].items():
                values |= {f"{metric}_low": low, f"{metric}_high": high}
            content[name][split] = {
                **{metric: value for metric, value in values.items() if "_at_" not in metric},
                "uncalibrated": evaluation.uncalibrated[split],
                "robustness": robustness.summary(shifts, name, split),
            }
    return content


def _intervals_table(evaluations: dict[str, Evaluation]) -> pd.DataFrame:
    """Make a table with one row per metric: model, split, metric, value, low, high."""
    return pd.DataFrame(
        [
            (name, split, metric, evaluation.metrics[split][metric.removesuffix("_delong")], *pair)
            for name, evaluation in evaluations.items()
            for split in SPLITS
            for metric, pair in evaluation.intervals[split].items()
        ],
        columns=["model", "split", "metric", "value", "low", "high"],
    )
