"""Log the results of evaluate, gradcam_report and register to the MLflow run of a training.

If a trained model is evaluated again with another rule, the new figures go to the same run. MLflow
keeps the old figures as earlier points of the same metrics.
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from pneumonia.inference.operating_point import OperatingPoint
from pneumonia.tracking.runs import flatten


def log_metrics(
    model: str, point: OperatingPoint, evaluation: Path, gradcam: Path, reports: Path
) -> None:
    """Log a model's metrics to the open run, and the three folders as artifacts.

    Examples: test_auc, test_auc_low, val_brier. For validation under shift: val_shift_mean_auc,
    val_shift_mild_worst_auc. For heat maps: gradcam_energy_inside. For the operating point:
    threshold, calibration_slope, calibration_intercept.

    Args:
        evaluation, gradcam, reports: output folders of `evaluate`, `gradcam_report`, `register`.
    """
    import mlflow

    maps = json.loads((gradcam / "metrics.json").read_text(encoding="utf-8"))[model]
    del maps["cascade"]  # four figures per layer
    mlflow.log_metrics(
        {
            **_evaluation_metrics(evaluation, model),
            "threshold": point.threshold,
            "calibration_slope": point.slope,
            "calibration_intercept": point.intercept,
        }
        | {
            name.replace(".", "_"): float(value)
            for name, value in flatten(maps, "gradcam_").items()
            # The steps of the cascade are named by layer. They are only in the artifacts.
            if isinstance(value, (int, float)) and not name.startswith("gradcam_cascade.")
        }
    )
    mlflow.log_artifacts(str(evaluation), "evaluate")
    mlflow.log_artifacts(str(gradcam), "gradcam_report")
    mlflow.log_artifacts(str(reports), "register")


def _evaluation_metrics(folder: Path, model: str) -> dict[str, float]:
    values: dict[str, float] = {}
    table = pd.read_csv(folder / "intervals.csv", float_precision="round_trip")
    for row in table[table["model"] == model].to_dict("records"):
        metric = f"{row['split']}_{row['metric']}"
        # auc_delong is another interval for the same AUC.
        if row["metric"] != "auc_delong":
            values[metric] = row["value"]
        values |= {f"{metric}_low": row["low"], f"{metric}_high": row["high"]}
    # The training already logged `val_auc` for each epoch, on the same images.
    values.pop("val_auc", None)
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    robustness = metrics[model]["val"]["robustness"]
    for metric, value in robustness["mean"].items():
        values[f"val_shift_mean_{metric}"] = value
        for strength, worst in robustness["worst"].items():
            values[f"val_shift_{strength}_worst_{metric}"] = worst[metric]
    return values
