"""Which model becomes the champion: a rule on validation figures alone."""

from __future__ import annotations

from pneumonia.evaluation.metrics import Metrics


def choose(validation: dict[str, Metrics]) -> str:
    """The model with the highest validation AUC; of equals the one with the lower Brier score."""
    return max(sorted(validation), key=lambda name: _merit(validation[name]))


def _merit(metrics: Metrics) -> tuple[float, float]:
    return metrics["auc"], -metrics["brier"]
