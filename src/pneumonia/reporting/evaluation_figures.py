"""The figures of `evaluate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator
from sklearn.calibration import calibration_curve
from sklearn.metrics import roc_curve

from pneumonia.reporting.style import BLUE, GREY, INK, MODEL_COLOURS, ORANGE

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def roc_table(predictions: pd.DataFrame) -> pd.DataFrame:
    """ROC points of each model on one split: columns model, fpr, tpr, logit."""
    tables = []
    for model, rows in predictions.groupby("model"):
        fpr, tpr, logit = roc_curve(rows["label"], rows["logit"])
        logit[0] = rows["logit"].max() + 1  # infinity in scikit-learn, which plots cannot show
        tables.append(pd.DataFrame({"model": model, "fpr": fpr, "tpr": tpr, "logit": logit}))
    return pd.concat(tables, ignore_index=True)


def roc(points: pd.DataFrame, aucs: dict[str, str], at: dict[str, tuple[float, float]]) -> Figure:
    """ROC curves.

    Args:
        points: from `roc_table`.
        aucs: for the legend, "0.990 [0.980, 0.997]" by model.
        at: (1 - specificity, sensitivity) of the operating point, by model.
    """
    figure, axis = plt.subplots(figsize=(4.6, 4.4))
    axis.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":")
    for model, rows in points.groupby("model"):
        colour = MODEL_COLOURS[str(model)]
        axis.plot(rows["fpr"], rows["tpr"], color=colour, label=f"{model}  {aucs[str(model)]}")
        axis.plot(*at[str(model)], "o", color=colour, markeredgecolor="white", markersize=8)
    axis.set(
        title="ROC on test, operating point marked", xlabel="1 - specificity", ylabel="sensitivity",
        xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal",
    )  # fmt: skip
    axis.legend(loc="lower right", title="AUC [95 % interval]")
    return figure


def scores(predictions: pd.DataFrame, thresholds: dict[str, float]) -> Figure:
    """Histograms of the probability by class on one split, a panel a model."""
    models = sorted(thresholds)
    figure, axes = plt.subplots(1, len(models), figsize=(4.5 * len(models), 2.9), sharey=True)
    for axis, model in zip(np.atleast_1d(axes), models, strict=True):
        rows = predictions[predictions["model"] == model]
        for label, name, colour in ((0, "normal", BLUE), (1, "pneumonia", ORANGE)):
            axis.hist(
                rows.loc[rows["label"] == label, "probability"], bins=np.linspace(0, 1, 41),
                histtype="stepfilled", alpha=0.6, color=colour, edgecolor=colour, label=name,
            )  # fmt: skip
        axis.axvline(thresholds[model], color=INK, linestyle="--", linewidth=1, label="threshold")
        axis.set(title=model, xlabel="probability of pneumonia", yscale="log")
    axes = np.atleast_1d(axes)
    axes[0].set_ylabel("films")
    axes[0].legend(loc="upper center")
    return figure


def calibration(predictions: pd.DataFrame) -> Figure:
    """Observed share of pneumonia against the probability, in ten bins of equal count."""
    figure, axis = plt.subplots(figsize=(4.6, 4.4))
    axis.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":")
    for model, rows in predictions.groupby("model"):
        observed, predicted = calibration_curve(
            rows["label"], rows["probability"], n_bins=10, strategy="quantile"
        )
        axis.plot(predicted, observed, "o-", color=MODEL_COLOURS[str(model)], label=str(model))
    axis.set(
        title="Calibration on test", xlabel="probability", ylabel="observed share of pneumonia",
        xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal",
    )  # fmt: skip
    axis.legend(loc="lower right")
    return figure


def learning_curves(histories: dict[str, pd.DataFrame]) -> Figure:
    """Loss and validation AUC by epoch, of each model; a ring marks its best epoch.

    Validation is of the averaged weights; the last epoch is the one that is kept.
    """
    figure, axes = plt.subplots(1, 2, figsize=(9, 2.9))
    for model, history in histories.items():
        colour = MODEL_COLOURS[model]
        if "loss" in history:
            axes[0].plot(history["epoch"], history["loss"], ":", color=colour,
                         label=f"{model}, training")  # fmt: skip
        axes[0].plot(history["epoch"], history["val_loss"], color=colour,
                     label=f"{model}, validation")  # fmt: skip
        axes[1].plot(history["epoch"], history["val_auc"], ".-", color=colour, label=model)
        best = history.iloc[history["val_auc"].to_numpy().argmax()]
        axes[1].plot(best["epoch"], best["val_auc"], "o", color=colour, markerfacecolor="none",
                     markersize=9)  # fmt: skip
    axes[0].set(title="loss", xlabel="epoch", yscale="log")
    axes[1].set(title="validation AUC, best epoch ringed, last kept", xlabel="epoch")
    for axis in axes:
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.legend()
    return figure
