"""What the page and the model card of `evaluate` are made from: its own files, read back.

So a number in a report is a number in a file beside it, and a report can be made again without
scoring anything.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pneumonia.core.config import EvaluateParams
from pneumonia.datasets.manifest import read_manifest

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
CURVES = (
    "roc",
    "precision_recall",
    "reliability",
    "reliability_uncalibrated",
    "decision",
    "scores",
    "confusion",
)
_TEXT = dict.fromkeys(("image_id", "patient_id", "file", "group"), str)


@dataclass(frozen=True)
class Results:
    """The findings of `evaluate`, and what was evaluated.

    Attributes:
        models: their names, in the order that everything is shown in.
        chosen: the better one by validation figures.
        points: by model, slope, intercept and threshold.
        intervals: a row a model, split and metric: value, low, high.
        uncalibrated: by model and split, calibration figures of the plain sigmoid of the logit.
        comparison: by split, from comparison.json.
        contenders, subgroups, errors, confident_errors, robustness: the tables of those names.
        curves: by name and model, of the test images.
        histories: by model, the training's history.csv.
        trainings: by model, the training's training.json.
        graphs: by model, SHA-256 of the exported graph.
        manifest: of all images.
        images: the folder of prepared images.
        source: `data.source`.
        params: of `evaluate`.
    """

    models: list[str]
    chosen: str
    points: dict[str, dict[str, float]]
    intervals: pd.DataFrame
    uncalibrated: dict[str, dict[str, dict[str, float]]]
    comparison: dict[str, Any]
    contenders: pd.DataFrame
    subgroups: pd.DataFrame
    errors: pd.DataFrame
    confident_errors: pd.DataFrame
    robustness: pd.DataFrame
    curves: dict[str, dict[str, pd.DataFrame]]
    histories: dict[str, pd.DataFrame]
    trainings: dict[str, dict[str, Any]]
    graphs: dict[str, str]
    manifest: pd.DataFrame
    images: Path
    source: str
    params: EvaluateParams

    def interval(self, model: str, split: str, metric: str) -> tuple[float, float, float]:
        """Value, low and high of a metric."""
        rows = self.intervals
        row = rows[
            (rows["model"] == model) & (rows["split"] == split) & (rows["metric"] == metric)
        ].iloc[0]
        return float(row["value"]), float(row["low"]), float(row["high"])

    def text(self, model: str, split: str, metric: str) -> str:
        """A metric as text, "0.990 [0.981, 0.997]"."""
        return with_interval(*self.interval(model, split, metric))


def read_results(
    folder: Path, images: Path, models: Path, source: str, params: EvaluateParams
) -> Results:
    """Read the files of `evaluate`.

    Args:
        folder: with the files of `evaluation.files.write_files`, and operating_point.json.
        images: the prepared images.
        models: with a folder a model.
        source: `data.source`.
        params: of `evaluate`.
    """
    card = json.loads((folder / "operating_point.json").read_text(encoding="utf-8"))
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    names = list(card["models"])
    return Results(
        models=names,
        chosen=card["better"],
        points=card["models"],
        intervals=_table(folder / "intervals.csv"),
        uncalibrated={
            name: {split: found["uncalibrated"] for split, found in metrics[name].items()}
            for name in names
        },
        comparison=json.loads((folder / "comparison.json").read_text(encoding="utf-8")),
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
        trainings={
            name: json.loads((models / name / "training.json").read_text(encoding="utf-8"))
            for name in names
        },
        graphs={
            name: hashlib.sha256((models / name / "graph.onnx").read_bytes()).hexdigest()
            for name in names
        },
        manifest=read_manifest(images),
        images=images,
        source=source,
        params=params,
    )


def with_interval(value: float, low: float, high: float, digits: int = 3) -> str:
    """A figure with its 95 % interval: "0.990 [0.981, 0.997]"; "-" where there is none."""
    if pd.isna(value):
        return "-"
    if pd.isna(low) or pd.isna(high):
        return f"{value:z.{digits}f}"
    # The interval's own space does not break: a narrow column puts it whole on the next line.
    return f"{value:z.{digits}f} [{low:z.{digits}f},\N{NO-BREAK SPACE}{high:z.{digits}f}]"


def _table(path: Path) -> pd.DataFrame:
    """A CSV file; shifts named "none" are names, and only empty cells are missing."""
    return pd.read_csv(path, dtype=_TEXT, keep_default_na=False, na_values=[""])
