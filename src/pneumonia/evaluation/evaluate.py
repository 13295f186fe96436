"""Score the exported graphs: predictions, operating points, metrics with intervals, the choice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumonia.evaluation import robustness
from pneumonia.evaluation.metrics import Metrics, intervals, score
from pneumonia.evaluation.operating_point import OperatingPoint, fix
from pneumonia.evaluation.selection import choose
from pneumonia.params import EvaluateParams
from pneumonia.predictor import Graph

SPLITS = ("val", "test")


@dataclass(frozen=True)
class Evaluation:
    """One model's figures.

    Attributes:
        predictions: a row a validation or test film: image_id, patient_id, split, label, model,
            logit, probability.
        point: fixed on validation.
        metrics: by split.
        intervals: 95 %, by split and metric.
        graph_sha256: of the graph that was scored.
    """

    predictions: pd.DataFrame
    point: OperatingPoint
    metrics: dict[str, Metrics]
    intervals: dict[str, dict[str, tuple[float, float]]]
    graph_sha256: str


def evaluate_model(
    name: str, graph: Graph, rows: pd.DataFrame, images: NDArray[np.uint8], params: EvaluateParams
) -> Evaluation:
    """Score one exported graph on the validation and the test films.

    Args:
        name: of the model.
        graph: its graph.
        rows: of the manifest, of the splits in `SPLITS`.
        images: uint8, (N, S, S, 1), of those rows.
        params: bootstrap and seed of the intervals.
    """
    logits, maps = graph.run(images)
    is_val = (rows["split"] == "val").to_numpy()
    labels = rows["label"].to_numpy()
    point = fix(labels[is_val], logits[is_val], maps[is_val])
    predictions = rows[["image_id", "patient_id", "split", "label"]].assign(
        model=name, logit=logits, probability=point.probability(logits)
    )
    metrics, bounds = {}, {}
    for split in SPLITS:
        part = predictions[predictions["split"] == split]
        columns = part["label"].to_numpy(), part["probability"].to_numpy()
        ranking = part["logit"].to_numpy()
        patients = part["patient_id"].to_numpy(dtype=str)
        metrics[split] = score(*columns, point.threshold, ranking=ranking)
        bounds[split] = intervals(
            *columns, point.threshold, patients, params.bootstrap, params.seed, ranking
        )
    return Evaluation(predictions, point, metrics, bounds, graph.sha256)


def champion(evaluations: dict[str, Evaluation], shifts: pd.DataFrame) -> str:
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

    Under `robustness`, what `robustness.summary` gives.
    """
    return {
        name: {
            split: dict(found.metrics[split])
            | {
                f"{metric}_{side}": value
                for metric, pair in found.intervals[split].items()
                for side, value in zip(("low", "high"), pair, strict=True)
            }
            | {"robustness": robustness.summary(shifts, name, split)}
            for split in SPLITS
        }
        for name, found in evaluations.items()
    }
