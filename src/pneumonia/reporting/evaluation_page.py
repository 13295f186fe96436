"""The page of `evaluate`."""

from __future__ import annotations

from pathlib import Path

from pneumonia.evaluation.evaluate import Evaluation
from pneumonia.predictor import NOTICE
from pneumonia.reporting.page import Figure, Section, Table, write_page

METRICS = {
    "auc": "AUC",
    "average_precision": "average precision",
    "accuracy": "accuracy",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "brier": "Brier score",
}


IN_SAMPLE = (
    "Threshold and temperature were chosen on these films: all figures here but AUC and average "
    "precision flatter the models, and their intervals with them."
)


def with_interval(found: Evaluation, split: str, metric: str) -> str:
    """A figure as text: "0.990 [0.981, 0.997]"."""
    low, high = found.intervals[split][metric]
    return f"{found.metrics[split][metric]:.3f} [{low:.3f}, {high:.3f}]"


def metrics_table(evaluations: dict[str, Evaluation], split: str) -> Table:
    """All metrics of all models on a split, a row a model."""
    rows = [
        [name, *(with_interval(found, split, metric) for metric in METRICS)]
        for name, found in evaluations.items()
    ]
    return Table(["model", *METRICS.values()], rows)


def write_evaluation_page(
    folder: Path, evaluations: dict[str, Evaluation], chosen: str, bootstrap: int
) -> None:
    """Write `index.html` beside the figures already in `folder`."""
    points = [
        [name, f"{found.point.threshold:.3f}", f"{found.point.temperature:.3f}"]
        for name, found in evaluations.items()
    ]
    how = (
        f"95 % intervals: {bootstrap:,} bootstrap resamples of patients. Thresholds and "
        "temperatures were fixed on validation; the test films were scored once, with them."
    )
    sections = [
        Section("Test", [how], metrics_table(evaluations, "test")),
        Section("Validation", [IN_SAMPLE], metrics_table(evaluations, "val")),
        Section("Operating points", table=Table(["model", "threshold", "temperature"], points)),
        Section(
            "Curves",
            figures=[
                Figure(folder / "roc.png", "ROC curves of both models on the test films"),
                Figure(
                    folder / "calibration.png",
                    "calibration curves",
                    "Ten bins of equal count; on the dotted line a probability means what it says.",
                ),
                Figure(folder / "scores.png", "histograms of the probabilities by class"),
                Figure(folder / "learning_curves.png", "loss and validation AUC by epoch"),
            ],
        ),
        Section("Notice", [NOTICE]),
    ]
    lead = f"Scratch against transfer. Champion by validation AUC: {chosen}."
    write_page(folder / "index.html", "Evaluation", lead, sections)
