"""Score the exported graphs: predictions, operating points, metrics with intervals, the choice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pneumonia.data.manifest import load_images
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
    name: str, graph_file: Path, table: pd.DataFrame, data: Path, params: EvaluateParams
) -> Evaluation:
    """Score one exported graph on the validation and the test films of a manifest."""
    graph = Graph(graph_file)
    rows = table[table["split"].isin(SPLITS)]
    logits, maps = graph.run(load_images(data, rows))
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


def champion(evaluations: dict[str, Evaluation]) -> str:
    """The better model by validation figures; the test split has no say."""
    return choose({name: found.metrics["val"] for name, found in evaluations.items()})


def as_metrics(evaluations: dict[str, Evaluation]) -> dict[str, Any]:
    """For metrics.json: by model, split and metric; intervals as `auc_low`, `auc_high`."""
    return {
        name: {
            split: dict(found.metrics[split])
            | {
                f"{metric}_{side}": value
                for metric, pair in found.intervals[split].items()
                for side, value in zip(("low", "high"), pair, strict=True)
            }
            for split in SPLITS
        }
        for name, found in evaluations.items()
    }
