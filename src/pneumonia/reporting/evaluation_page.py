"""The page of `evaluate`."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from pneumonia.evaluation import robustness
from pneumonia.evaluation.evaluate import Evaluation
from pneumonia.predictor import NOTICE
from pneumonia.reporting import evaluation_figures as figures
from pneumonia.reporting import robustness_page, style
from pneumonia.reporting.page import Figure, Section, Table, write_page
from pneumonia.reporting.robustness_figures import heat_table

METRICS = {
    "auc": "AUC",
    "average_precision": "average precision",
    "accuracy": "accuracy",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "brier": "Brier score",
}


IN_SAMPLE = (
    "Threshold and calibration were fitted to these films: all figures here but AUC and average "
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


def write_evaluation_report(
    folder: Path,
    evaluations: dict[str, Evaluation],
    shifts: pd.DataFrame,
    histories: dict[str, pd.DataFrame],
    chosen: str,
    bootstrap: int,
) -> None:
    """Write the figures and `index.html`.

    Args:
        folder: where to.
        evaluations: by model.
        shifts: from `robustness.measure`.
        histories: by model, the training's `history.csv`.
        chosen: the champion.
        bootstrap: resamples behind the intervals.
    """
    style.apply()
    predictions = pd.concat([found.predictions for found in evaluations.values()])
    test = predictions[predictions["split"] == "test"]
    points = figures.roc_table(test)
    aucs = {name: with_interval(found, "test", "auc") for name, found in evaluations.items()}
    at = {
        name: (1 - found.metrics["test"]["specificity"], found.metrics["test"]["sensitivity"])
        for name, found in evaluations.items()
    }
    thresholds = {name: found.point.threshold for name, found in evaluations.items()}
    style.save(figures.roc(points, aucs, at), folder / "roc.png")
    style.save(figures.calibration(test), folder / "calibration.png")
    style.save(figures.scores(test, thresholds), folder / "scores.png")
    style.save(figures.learning_curves(histories), folder / "learning_curves.png")
    style.save(heat_table(shifts, "test"), folder / "robustness.png")
    _write_page(folder, evaluations, shifts, chosen, bootstrap)


def _write_page(
    folder: Path,
    evaluations: dict[str, Evaluation],
    shifts: pd.DataFrame,
    chosen: str,
    bootstrap: int,
) -> None:
    points = [
        [
            name, f"{found.point.threshold:.3f}", f"{found.point.slope:.3f}",
            f"{found.point.intercept:.3f}",
        ]
        for name, found in evaluations.items()
    ]  # fmt: skip
    how = (
        f"95 % intervals: {bootstrap:,} bootstrap resamples of patients. Thresholds and "
        "calibrations were fixed on validation; the test films were scored once, with them."
    )
    validation, test = (
        {name: robustness.summary(shifts, name, split) for name in evaluations}
        for split in ("val", "test")
    )
    heat = Figure(
        folder / "robustness.png",
        "AUC, sensitivity and specificity of both models under every shift",
        robustness_page.caption(),
    )
    sections = [
        Section("Test", [how], metrics_table(evaluations, "test")),
        Section("Validation", [IN_SAMPLE], metrics_table(evaluations, "val")),
        Section(
            "Operating points",
            table=Table(["model", "threshold", "calibration slope", "intercept"], points),
        ),
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
        *robustness_page.sections(heat, validation, test),
        Section("Notice", [NOTICE]),
    ]
    lead = f"Scratch against transfer. Champion by mean validation AUC under shift: {chosen}."
    write_page(folder / "index.html", "Evaluation", lead, sections)
