"""Score both models on validation and test images, choose the better one, write all tables.

Operating point and choice depend on validation images alone; the test images only report. Called by
stages/evaluate.py, which also makes the shifted images (`robustness`).
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
    #: 95 %, by split and metric, by the bootstrap of patients; and `auc_delong`.
    intervals: dict[str, dict[str, Interval]]
    #: by split, the metrics `CALIBRATION` of the plain sigmoid of the logit.
    uncalibrated: dict[str, Metrics]
    subgroups: pd.DataFrame  #: of both splits, `subgroups.subgroups` with a column split in front
    errors: pd.DataFrame  #: of the test images, see `subgroups.error_rates`
    confident_errors: pd.DataFrame  #: of the test images, see `subgroups.confident_errors`
    #: of the test images, by name, see `curves.curves`; `reliability_uncalibrated` is of the plain
    #: sigmoid of the logit.
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
        attributes: `subgroups.image_attributes` of those rows.
        pool: from `robustness.threshold_pool`.
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
    """Choose the model with the higher mean validation AUC under shift, then the lower Brier score.

    The AUC of unshifted validation images does not decide, because it saturates. On held-out
    images of the Kermany children, every good model reaches .994 to .998; on the official test set,
    good models vary between .95 and .98. So the order of the models would be chance. The mean
    over the shifts still separates the models, on the same validation images.

    Args:
        evaluations: by model. Their Brier scores are those of unshifted validation images.
    """

    def rank(name: str) -> tuple[float, float]:
        auc = robustness.summary(shifts, name, "val")["mean"]["auc"]
        return auc, -evaluations[name].metrics["val"]["brier"]

    return max(sorted(evaluations), key=rank)


def read_audit(path: Path) -> dict[str, Any]:
    """Read what the evaluation uses of audit.json, which `visualize` wrote.

    Returns:
        `probes`: by name, auc, low, high; `near_duplicates`: set of the files of all listed pairs.

    Raises:
        InputError: there is no such file.
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
    """By model, split and metric; interval bounds as `auc_low` and `auc_high`.

    Under `uncalibrated` the metrics before calibration; under `robustness` `robustness.summary`.
    The predictive values at other prevalences are only in intervals.csv.
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
    """One row per metric: model, split, metric, value, low, high."""
    return pd.DataFrame(
        [
            (name, split, metric, evaluation.metrics[split][metric.removesuffix("_delong")], *pair)
            for name, evaluation in evaluations.items()
            for split in SPLITS
            for metric, pair in evaluation.intervals[split].items()
        ],
        columns=["model", "split", "metric", "value", "low", "high"],
    )
