"""Score the exported graphs: predictions, operating points, metrics with intervals, the choice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumonia.evaluation import comparison, robustness, subgroups
from pneumonia.evaluation.curves import curves, reliability
from pneumonia.evaluation.delong import auc_interval
from pneumonia.evaluation.fixing import fix
from pneumonia.evaluation.metrics import CALIBRATION, Interval, Metrics, intervals, score
from pneumonia.evaluation.operating_point import OperatingPoint, sigmoid
from pneumonia.evaluation.selection import choose
from pneumonia.evaluation.threshold import Pool
from pneumonia.params import EvaluateParams

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
    point = fix(
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
) -> dict[str, comparison.Comparison]:
    """The two models on the images of each split."""
    thresholds = first.point.threshold, second.point.threshold
    return {
        split: comparison.compare(
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
    return choose(
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
