"""Which model is the better one: a rule on validation figures alone."""

from __future__ import annotations

from pneumonia.evaluation.metrics import Metrics


def choose(validation: dict[str, Metrics]) -> str:
    """The model that ranks best under shift; of equals the one with the lower Brier score.

    The plain validation AUC does not decide. It saturates: on the Kermany children every good model
    reaches .994 to .998 on held-out images while the official test swings between .95 and .98, so
    that its order of models is chance. The mean over the shifts of `evaluation.shifts` still tells
    them apart, on the same validation images.

    Args:
        validation: by model: `shifted_auc`, the mean validation AUC under shift, and `brier`, the
            Brier score on the unshifted images.
    """
    return max(sorted(validation), key=lambda name: _merit(validation[name]))


def _merit(metrics: Metrics) -> tuple[float, float]:
    return metrics["shifted_auc"], -metrics["brier"]
