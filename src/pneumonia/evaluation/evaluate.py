"""Which model is the better one: a rule on validation figures alone.

Score the exported graphs: predictions, operating points, metrics with intervals, the choice.

The files of `evaluate`, but for the pictures and the page.
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
from pneumonia.evaluation.threshold import Pool, fix_operating_point
from pneumonia.inference.operating_point import OperatingPoint
from pneumonia.stats import paired
from pneumonia.stats.calibration import sigmoid
from pneumonia.stats.delong import auc_interval
from pneumonia.stats.metrics import CALIBRATION, Interval, Metrics, intervals, score
from pneumonia.stats.paired import Comparison, contenders


def choose_model(validation: dict[str, Metrics]) -> str:
    """The model that ranks best under shift; of equals the one with the lower Brier score.

    The plain validation AUC does not decide. It saturates: on the Kermany children every good model
    reaches .994 to .998 on held-out images while the official test swings between .95 and .98, so
    that its order of models is chance. The mean over the shifts of `evaluation.shifts` still tells
    them apart, on the same validation images.

    Args:
        validation: by model: `shifted_auc`, the mean validation AUC under shift, and `brier`, the
            Brier score on the unshifted images.
    """
    return max(sorted(validation), key=lambda name: _merit(validation[name]))


def _merit(metrics: Metrics) -> tuple[float, float]:
    return metrics["shifted_auc"], -metrics["brier"]


SPLITS = ("val", "test")


@dataclass(frozen=True)
class Evaluation:
    """One model's figures.

    Attributes:
        predictions: a row a validation or test image: image_id, patient_id, split, label, model,
            logit, probability.
        point: fixed on validation.
        metrics: by split, see `metrics.score_resamples`.
        intervals: 95 %, by split and metric, by the bootstrap of patients; and `auc_delong`.
        uncalibrated: by split, brier, ece, calibration_slope and calibration_intercept of the
            plain sigmoid of the logit.
        subgroups: of both splits, `subgroups.subgroups` with a column split in front.
        errors: of the test images, see `subgroups.errors`.
        confident_errors: of the test images, see `subgroups.confident_errors`.
        curves: of the test images, by name, see `curves.curves`; `reliability_uncalibrated` is of
            the plain sigmoid of the logit.
        graph_sha256: of the graph that was scored.
    """

    predictions: pd.DataFrame
    point: OperatingPoint
    metrics: dict[str, Metrics]
    intervals: dict[str, dict[str, Interval]]
    uncalibrated: dict[str, Metrics]
    subgroups: pd.DataFrame
    errors: pd.DataFrame
    confident_errors: pd.DataFrame
    curves: dict[str, pd.DataFrame]
    graph_sha256: str


def evaluate_model(
    name: str,
    outputs: tuple[NDArray[np.float32], NDArray[np.float32]],
    graph_sha256: str,
    rows: pd.DataFrame,
    kinds: pd.DataFrame,
    pool: Pool,
    params: EvaluateParams,
) -> Evaluation:
    """Score what one exported graph answers to the validation and the test images.

    Args:
        name: of the model.
        outputs: logits, (N,), and maps, (N, h, w).
        graph_sha256: of the graph.
        rows: of the manifest, N images, of the splits in `SPLITS`.
        kinds: `subgroups.attributes` of those rows.
        pool: validation images to choose the threshold on, from `robustness.pool`.
        params: rule of the threshold, calibration, bootstrap and seed.
    """
    logits, maps = outputs
    is_val = (rows["split"] == "val").to_numpy()
    labels = rows["label"].to_numpy()
    point = fix_operating_point(
        labels[is_val], logits[is_val], maps[is_val], pool, params.threshold, params.calibration
    )
    predictions = rows[["image_id", "patient_id", "split", "label"]].assign(
        model=name, logit=logits, probability=point.probability(logits)
    )
    again = params.bootstrap, params.seed
    metrics, bounds, plain, grouped = {}, {}, {}, []
    for split in SPLITS:
        part = predictions[predictions["split"] == split]
        columns = part["label"].to_numpy(), part["probability"].to_numpy()
        ranking = part["logit"].to_numpy()
        patients = part["patient_id"].to_numpy(dtype=str)
        metrics[split] = score(*columns, point.threshold, ranking=ranking)
        bounds[split] = intervals(*columns, point.threshold, patients, *again, ranking)
        bounds[split]["auc_delong"] = auc_interval(columns[0], ranking, patients)
        uncalibrated = score(columns[0], sigmoid(ranking.astype(np.float64)), 0.5)
        plain[split] = {metric: uncalibrated[metric] for metric in CALIBRATION}
        table = subgroups.subgroups(part, kinds.loc[part.index], point.threshold, *again)
        grouped.append(table.assign(split=split)[["split", *table.columns]])
    test = predictions[predictions["split"] == "test"]
    of_test = kinds.loc[test.index]
    drawn = curves(test, point.threshold, *again)
    untouched = test.assign(probability=sigmoid(test["logit"].to_numpy(dtype=np.float64)))
    drawn["reliability_uncalibrated"] = reliability(untouched, *again)
    return Evaluation(
        predictions=predictions,
        point=point,
        metrics=metrics,
        intervals=bounds,
        uncalibrated=plain,
        subgroups=pd.concat(grouped, ignore_index=True),
        errors=subgroups.errors(test, of_test, point.threshold, *again),
        confident_errors=subgroups.confident_errors(
            test, rows.loc[test.index], of_test, point.threshold
        ),
        curves=drawn,
        graph_sha256=graph_sha256,
    )


def compare(
    first: Evaluation, second: Evaluation, params: EvaluateParams
) -> dict[str, paired.Comparison]:
    """The two models on the images of each split."""
    thresholds = first.point.threshold, second.point.threshold
    return {
        split: paired.compare(
            first.predictions[first.predictions["split"] == split],
            second.predictions[second.predictions["split"] == split],
            thresholds,
            params.bootstrap,
            params.seed,
        )
        for split in SPLITS
    }


def better(evaluations: dict[str, Evaluation], shifts: pd.DataFrame) -> str:
    """The better model by validation figures; the test split has no say.

    Args:
        evaluations: by model.
        shifts: of the same models, from `robustness.measure`.
    """
    return choose_model(
        {
            name: {
                "shifted_auc": robustness.summary(shifts, name, "val")["mean"]["auc"],
                "brier": found.metrics["val"]["brier"],
            }
            for name, found in evaluations.items()
        }
    )


def as_metrics(evaluations: dict[str, Evaluation], shifts: pd.DataFrame) -> dict[str, Any]:
    """For metrics.json: by model, split and metric; intervals as `auc_low`, `auc_high`.

    Under `uncalibrated`, what it was before calibration; under `robustness`, what
    `robustness.summary` gives. The predictive values at other prevalences are in intervals.csv.
    """
    return {
        name: {
            split: {
                metric: value
                for metric, value in found.metrics[split].items()
                if "_at_" not in metric
            }
            | {
                f"{metric}_{side}": value
                for metric, pair in found.intervals[split].items()
                for side, value in zip(("low", "high"), pair, strict=True)
                if "_at_" not in metric
            }
            | {"uncalibrated": found.uncalibrated[split]}
            | {"robustness": robustness.summary(shifts, name, split)}
            for split in SPLITS
        }
        for name, found in evaluations.items()
    }


def as_table(evaluations: dict[str, Evaluation]) -> pd.DataFrame:
    """Every metric in a row: model, split, metric, value, low, high; auc_delong by DeLong."""
    return pd.DataFrame(
        [
            (name, split, metric, found.metrics[split][metric.removesuffix("_delong")], *pair)
            for name, found in evaluations.items()
            for split in SPLITS
            for metric, pair in found.intervals[split].items()
        ],
        columns=["model", "split", "metric", "value", "low", "high"],
    )


def read_audit(path: Path) -> dict[str, Any]:
    """What the audit, audit.json of `visualize`, says that models are held against.

    Returns:
        `probes`: by name, auc, low, high; `near_duplicates`: set of the images' files that it lists.

    Raises:
        InputError: there is none.
    """
    try:
        audit = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; `dvc repro visualize` writes it") from None
    listed = audit["near_duplicates"]["listed"]
    return {
        "probes": audit["probes"],
        "near_duplicates": {file for pair in listed for file in pair["files"]},
    }


def write_files(
    folder: Path,
    evaluations: dict[str, Evaluation],
    shifts: pd.DataFrame,
    comparisons: dict[str, Comparison],
    probes: dict[str, dict[str, float]],
) -> None:
    """Write tables and metrics.

    Args:
        folder: where to.
        evaluations: by model.
        shifts: from `robustness.measure`.
        comparisons: by split, from `evaluate.compare`.
        probes: from `read_audit`.
    """
    aucs = {name: found.intervals["test"]["auc"] for name, found in evaluations.items()}
    tables = {
        "predictions": _stacked({name: found.predictions for name, found in evaluations.items()}),
        "robustness": shifts,
        "intervals": as_table(evaluations),
        "contenders": contenders(comparisons["test"], aucs, probes),
        "subgroups": _stacked({name: found.subgroups for name, found in evaluations.items()}),
        "errors": _stacked({name: found.errors for name, found in evaluations.items()}),
        "confident_errors": _stacked(
            {name: found.confident_errors for name, found in evaluations.items()}
        ),
    }
    (folder / "curves").mkdir()
    for name, found in evaluations.items():
        tables |= {f"curves/{curve}_{name}": table for curve, table in found.curves.items()}
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n")
    write_json(folder / "metrics.json", as_metrics(evaluations, shifts))
    write_json(
        folder / "comparison.json", {split: one.as_dict() for split, one in comparisons.items()}
    )


def _stacked(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Under each other, with a column model in front where it is missing."""
    return pd.concat(
        [
            table if "model" in table else table.assign(model=name)[["model", *table.columns]]
            for name, table in tables.items()
        ],
        ignore_index=True,
    )
