"""The results of `evaluate`, read from its files, for the evaluation page and the model card.

So every number in a report is in a file, and a report can be made again without scoring.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pneumonia.core.config import EvaluateParams
from pneumonia.core.files import sha256
from pneumonia.datasets.manifest import read_manifest
from pneumonia.inference.operating_point import OperatingPoint, OperatingPoints

NAMES = {
    "auc": "AUC",
    "auc_delong": "AUC, interval by DeLong",
    "average_precision": "average precision",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "ppv": "positive predictive value",
    "npv": "negative predictive value",
    "f1": "F1",
    "mcc": "Matthews correlation",
    "brier": "Brier score",
    "ece": "expected calibration error",
    "calibration_slope": "calibration slope",
    "calibration_intercept": "calibration intercept",
}
CURVES = ("roc", "precision_recall", "reliability", "reliability_uncalibrated", "decision",
          "scores", "confusion")  # fmt: skip
_TEXT = dict.fromkeys(("image_id", "patient_id", "file", "group"), str)


@dataclass(frozen=True)
class Results:
    """The results of `evaluate`, and what was evaluated."""

    models: list[str]  #: names in the order of presentation
    chosen: str  #: the better model by validation
    points: dict[str, OperatingPoint]  #: by model, the operating point
    intervals: pd.DataFrame  #: one row per model, split and metric: value, low, high
    #: by model and split, calibration metrics of the sigmoid of the logit.
    uncalibrated: dict[str, dict[str, dict[str, float]]]
    comparison: dict[str, Any]  #: by split, from comparison.json
    #: contenders, subgroups, errors, confident_errors, robustness: the tables of these names.
    contenders: pd.DataFrame
    subgroups: pd.DataFrame
    errors: pd.DataFrame
    confident_errors: pd.DataFrame
    robustness: pd.DataFrame
    curves: dict[str, dict[str, pd.DataFrame]]  #: by name and model, of the test images
    histories: dict[str, pd.DataFrame]  #: by model, the training's history.csv
    trainings: dict[str, dict[str, Any]]  #: by model, the training's training.json
    graphs: dict[str, str]  #: by model, SHA-256 of the exported graph
    manifest: pd.DataFrame  #: of all images
    images: Path  #: the folder of prepared images
    source: str  #: the param `data.source`
    params: EvaluateParams  #: the block `evaluate`

    def interval(self, model: str, split: str, metric: str) -> tuple[float, float, float]:
        """Value and interval of a metric: value, low, high."""
        same = "model == @model and split == @split and metric == @metric"
        row = self.intervals.query(same).iloc[0]
        return float(row["value"]), float(row["low"]), float(row["high"])

    def value(self, model: str, metric: str) -> float:
        """A metric on the test images."""
        return self.interval(model, "test", metric)[0]

    def text(self, model: str, split: str, metric: str) -> str:
        """A metric as text, "0.990 [0.981, 0.997]"."""
        return with_interval(*self.interval(model, split, metric))


def read_results(
    folder: Path, images: Path, models: Path, source: str, params: EvaluateParams
) -> Results:
    """Read what `evaluate` wrote to `folder`; `images` and `models` are the folders that it read.

    Raises:
        InputError: operating_point.json is missing or damaged.
    """
    points = OperatingPoints.read(folder / "operating_point.json")
    metrics = _json(folder / "metrics.json")
    names = list(points.points)
    return Results(
        models=names,
        chosen=points.better,
        points=points.points,
        intervals=_table(folder / "intervals.csv"),
        uncalibrated={
            name: {split: values["uncalibrated"] for split, values in metrics[name].items()}
            for name in names
        },
        comparison=_json(folder / "comparison.json"),
        contenders=_table(folder / "contenders.csv"),
        subgroups=_table(folder / "subgroups.csv"),
        errors=_table(folder / "errors.csv"),
        confident_errors=_table(folder / "confident_errors.csv"),
        robustness=_table(folder / "robustness.csv"),
        curves={
            curve: {name: _table(folder / "curves" / f"{curve}_{name}.csv") for name in names}
            for curve in CURVES
        },
        histories={name: _table(models / name / "history.csv") for name in names},
        trainings={name: _json(models / name / "training.json") for name in names},
        graphs={name: sha256(models / name / "graph.onnx") for name in names},
        manifest=read_manifest(images),
        images=images,
        source=source,
        params=params,
    )


def with_interval(value: float, low: float, high: float, digits: int = 3) -> str:
    """A value with its 95 % interval, "0.990 [0.981, 0.997]"; "-" for NaN."""
    if pd.isna(value):
        return "-"
    if pd.isna(low) or pd.isna(high):
        return f"{value:z.{digits}f}"
    # With a no-break space a narrow column does not split the interval over two lines.
    return f"{value:z.{digits}f} [{low:z.{digits}f},\N{NO-BREAK SPACE}{high:z.{digits}f}]"


def _table(path: Path) -> pd.DataFrame:
    """Read a CSV file; only empty cells are missing, "none" is the name of a shift."""
    return pd.read_csv(path, dtype=_TEXT, keep_default_na=False, na_values=[""])


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
