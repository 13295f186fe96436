"""The results of `evaluate`, read from its files, for the evaluation page and the model card.

Every number in a report is therefore also in a file. No image is scored to write a report again.
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
    """The results of `evaluate`, and information about its models and images."""

    models: list[str]  #: model names, in the order of the reports
    chosen: str  #: name of the better model on validation
    points: dict[str, OperatingPoint]  #: the operating point of each model
    intervals: pd.DataFrame  #: one row per model, split and metric: value, low, high
    #: by model and split: the calibration metrics before calibration (sigmoid of the logit).
    uncalibrated: dict[str, dict[str, dict[str, float]]]
    comparison: dict[str, Any]  #: the content of comparison.json, by split
    #: The next five fields are the CSV tables with the same names.
    contenders: pd.DataFrame
    subgroups: pd.DataFrame
    errors: pd.DataFrame
    confident_errors: pd.DataFrame
    robustness: pd.DataFrame
    curves: dict[str, dict[str, pd.DataFrame]]  #: tables of the test images, by curve and model
    histories: dict[str, pd.DataFrame]  #: the history.csv of each model's training
    trainings: dict[str, dict[str, Any]]  #: the training.json of each model
    graphs: dict[str, str]  #: SHA-256 of each model's exported graph
    manifest: pd.DataFrame  #: the manifest of all images
    images: Path  #: the folder of prepared images
    source: str  #: the value of the param `data.source`
    params: EvaluateParams  #: the block `evaluate` of the params

    def interval(self, model: str, split: str, metric: str) -> tuple[float, float, float]:
        """A metric and the limits of its interval: value, low, high."""
        same = "model == @model and split == @split and metric == @metric"
        row = self.intervals.query(same).iloc[0]
        return float(row["value"]), float(row["low"]), float(row["high"])

    def value(self, model: str, metric: str) -> float:
        """The value of a metric on the test images."""
        return self.interval(model, "test", metric)[0]

    def text(self, model: str, split: str, metric: str) -> str:
        """A metric with its interval as text, for example "0.990 [0.981, 0.997]"."""
        return with_interval(*self.interval(model, split, metric))


def read_results(
    folder: Path, images: Path, models: Path, source: str, params: EvaluateParams
) -> Results:
    """Read the files of `evaluate` from `folder`; `images` and `models` are its input folders.

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
    """A value with its 95 % interval as text: "0.990 [0.981, 0.997]"; "-" if the value is NaN."""
    if pd.isna(value):
        return "-"
    if pd.isna(low) or pd.isna(high):
        return f"{value:z.{digits}f}"
    # The no-break space keeps the interval on one line in a narrow column.
    return f"{value:z.{digits}f} [{low:z.{digits}f},\N{NO-BREAK SPACE}{high:z.{digits}f}]"


def _table(path: Path) -> pd.DataFrame:
    """Read a CSV file. Only empty cells are missing values; "none" is the name of a shift."""
    return pd.read_csv(path, dtype=_TEXT, keep_default_na=False, na_values=[""])


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
