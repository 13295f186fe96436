"""Log what evaluate, gradcam_report and register wrote to the MLflow run of each training.

If a trained model is evaluated again under another rule, its run gets the new figures, and MLflow
keeps the old ones as earlier points of the same metrics.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from pneumonia.inference.operating_point import OperatingPoint
from pneumonia.tracking.runs import flatten


def log_evaluation(folder: Path, model: str, point: OperatingPoint) -> None:
    """Log the results of `evaluate` to the open run: test_auc, test_auc_low, val_brier, ...

    Validation under shift: val_shift_mean_auc, val_shift_mild_worst_auc, ... Operating point:
    threshold, calibration_slope, calibration_intercept.

    Args:
        folder: that `evaluate` wrote.
        model: name of the model.
        point: its operating point.
    """
    import mlflow

    values: dict[str, float] = {}
    table = pd.read_csv(folder / "intervals.csv", float_precision="round_trip")
    for row in table[table["model"] == model].to_dict("records"):
        metric = f"{row['split']}_{row['metric']}"
        # auc_delong is another interval of the same auc.
        if row["metric"] != "auc_delong":
            values[metric] = row["value"]
        values |= {f"{metric}_low": row["low"], f"{metric}_high": row["high"]}
    # The training already logged `val_auc` by epoch, from the same images.
    values.pop("val_auc", None)
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    robustness = metrics[model]["val"]["robustness"]
    for metric, value in robustness["mean"].items():
        values[f"val_shift_mean_{metric}"] = value
        for strength, worst in robustness["worst"].items():
            values[f"val_shift_{strength}_worst_{metric}"] = worst[metric]
    values |= {
        "threshold": point.threshold,
        "calibration_slope": point.slope,
        "calibration_intercept": point.intercept,
    }
    mlflow.log_metrics(values)
    mlflow.log_artifacts(str(folder), "evaluate")


def log_explanations(figures: dict[str, Any], folder: Path) -> None:
    """Log the results of `gradcam_report` to the open run: gradcam_energy_inside, ...

    Args:
        figures: of the model, perhaps nested; only numbers are logged as metrics.
        folder: that `gradcam_report` wrote; its files are logged as artifacts.
    """
    import mlflow

    numbers = {
        name.replace(".", "_"): float(value)
        for name, value in flatten(figures, "gradcam_").items()
        if isinstance(value, (int, float))
    }
    mlflow.log_metrics(numbers)
    mlflow.log_artifacts(str(folder), "gradcam_report")


def log_reports(folder: Path) -> None:
    """Log the pages, figures and the model card of `register` to the open run."""
    import mlflow

    mlflow.log_artifacts(str(folder), "register")
