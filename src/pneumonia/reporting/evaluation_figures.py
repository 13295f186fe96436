"""The figures of `evaluate` that show one model's curves beside the other's, on the test images.

They draw the tables of `evaluation.curves`, which `dvc plots` draws too. Bands and bars are 95 %
intervals by the bootstrap of patients, pointwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from pneumonia.data.manifest import LABELS
from pneumonia.reporting.style import CLASS_COLOURS, DARK, GREY, INK, MODEL_COLOURS, MODEL_LINES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curves = dict[str, pd.DataFrame]
_TICKS = np.array([1, 5, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000])
_PAPER = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5}


def roc(curves: Curves, aucs: dict[str, str], at: dict[str, tuple[float, float]]) -> Figure:
    """ROC curves with bands.

    Args:
        curves: by model, fpr, tpr, low, high.
        aucs: by model, for the legend.
        at: by model, (1 - specificity, sensitivity) of the operating point.
    """
    figure, axis = plt.subplots(figsize=(4.6, 4.6))
    axis.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":")
    for model, rows in curves.items():
        # At 0 the curve rises from the corner to its first value.
        start = pd.DataFrame({"fpr": [0.0], "tpr": [0.0], "low": [0.0], "high": [0.0]})
        rows = pd.concat([start, rows])  # noqa: PLW2901
        _banded(axis, model, rows, ("fpr", "tpr"), f"{model}  {aucs[model]}")
        axis.plot(*at[model], "o", color=MODEL_COLOURS[model], markeredgecolor=INK, markersize=7)
    axis.set(title="ROC; dots: operating points", xlabel="1 - specificity", ylabel="sensitivity")
    _square(axis)
    axis.legend(loc="lower right", title="AUC [95 % interval]")
    return figure


def precision_recall(
    curves: Curves, scores: dict[str, str], at: dict[str, tuple[float, float]], prevalence: float
) -> Figure:
    """Precision by recall with bands.

    Args:
        curves: by model, recall, precision, low, high.
        scores: by model, the average precision for the legend.
        at: by model, (sensitivity, positive predictive value) of the operating point.
        prevalence: of the images: the precision of a guess.
    """
    figure, axis = plt.subplots(figsize=(4.6, 4.6))
    axis.axhline(prevalence, color=GREY, linewidth=1, linestyle=":")
    for model, rows in curves.items():
        _banded(axis, model, rows, ("recall", "precision"), f"{model}  {scores[model]}")
        axis.plot(*at[model], "o", color=MODEL_COLOURS[model], markeredgecolor=INK, markersize=7)
    axis.set(
        title="Precision and recall; dots: operating points",
        xlabel="recall (sensitivity)",
        ylabel="precision (positive predictive value)",
    )
    _square(axis)
    axis.legend(loc="lower left", title="average precision [95 % interval]")
    return figure


def calibration(before: Curves, after: Curves) -> Figure:
    """Observed share of pneumonia by probability, before and after calibration.

    Args:
        before, after: by model, probability, observed, low, high, a row a bin of equal count.
    """
    figure, axes = plt.subplots(1, 2, figsize=(8.6, 4.5), sharey=True)
    titles = ("Before calibration", "After calibration")
    for axis, title, curves in zip(axes, titles, (before, after), strict=True):
        axis.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":")
        for model, rows in curves.items():
            observed = rows["observed"].to_numpy()
            reach = [observed - rows["low"], rows["high"] - observed]
            axis.errorbar(
                rows["probability"], observed, np.maximum(reach, 0), fmt="o", markersize=5,
                linestyle=MODEL_LINES[model], linewidth=1.2, elinewidth=0.9, capsize=2.5,
                color=MODEL_COLOURS[model], label=model,
            )  # fmt: skip
        axis.set(title=title, xlabel="probability (mean of a bin)")
        _square(axis)
    axes[0].set_ylabel("observed share of pneumonia")
    axes[0].legend(loc="upper left")
    return figure


def scores(curves: Curves, thresholds: dict[str, float]) -> Figure:
    """Images by probability, pneumonia upwards and normal downwards, a panel a model.

    Heights go with the square root of the count, so that a single wrong image is seen.

    Args:
        curves: by model, probability (middle of a bin), normal, pneumonia (images).
        thresholds: by model.
    """
    figure, axes = plt.subplots(1, len(curves), figsize=(3.75 * len(curves), 3.3), squeeze=False)
    most = max(int(rows[["normal", "pneumonia"]].to_numpy().max()) for rows in curves.values())
    up = _TICKS[most >= _TICKS]
    for axis, (model, rows) in zip(axes[0], curves.items(), strict=True):
        width = rows["probability"].iloc[1] - rows["probability"].iloc[0]
        axis.set_yscale("function", functions=(_signed_root, _signed_square))
        for name, sign in (("pneumonia", 1), ("normal", -1)):
            axis.bar(
                rows["probability"], sign * rows[name], 0.92 * width, color=CLASS_COLOURS[name]
            )
            axis.text(0.5, sign * most * 0.93, name, ha="center", va="center", fontweight="bold",
                      bbox=_PAPER)  # fmt: skip
        axis.axhline(0, color=INK, linewidth=0.8)
        at = thresholds[model]
        axis.axvline(at, color=INK, linestyle="--", linewidth=1.2)
        left = at > 0.5
        axis.text(
            at + (-0.02 if left else 0.02), -most * 0.42, f"threshold {at:.3f}",
            ha="right" if left else "left", va="center", bbox=_PAPER,
        )  # fmt: skip
        axis.yaxis.set_major_locator(FixedLocator([*-up[::-1], 0, *up]))
        axis.yaxis.set_minor_locator(NullLocator())
        axis.yaxis.set_major_formatter(lambda value, _: f"{abs(value):,.0f}")
        axis.set(
            title=model, xlabel="probability of pneumonia", xlim=(0, 1),
            ylim=(-most * 1.15, most * 1.15),
        )  # fmt: skip
    axes[0, 0].set_ylabel("images (square-root scale)")
    return figure


def decision(curves: Curves, thresholds: dict[str, float]) -> Figure:
    """Net benefit by threshold probability (Vickers & Elkin 2006).

    Args:
        curves: by model, threshold, net_benefit, low, high, treat_all, treat_none.
        thresholds: by model, marked on its curve.
    """
    figure, axis = plt.subplots(figsize=(5.2, 3.9))
    reference = next(iter(curves.values()))
    axis.plot(reference["threshold"], reference["treat_all"], color=INK, linewidth=1,
              linestyle=":", label="call every image pneumonia")  # fmt: skip
    axis.axhline(0, color=GREY, linewidth=1.2, label="call none")
    for model, rows in curves.items():
        _banded(axis, model, rows, ("threshold", "net_benefit"), model)
        benefit = np.interp(thresholds[model], rows["threshold"], rows["net_benefit"])
        axis.plot(thresholds[model], benefit, "o", color=MODEL_COLOURS[model],
                  markeredgecolor=INK, markersize=7)  # fmt: skip
    top = max(rows["high"].max() for rows in curves.values())
    axis.set(
        title="Decision curve; dots: operating points",
        xlabel="threshold probability", ylabel="net benefit per image",
        xlim=(0, 1), ylim=(-0.25 * top, 1.08 * top),
    )  # fmt: skip
    axis.legend(loc="lower left")
    return figure


def confusion(decisions: Curves) -> Figure:
    """Test images by class and decision; the colour is the share of the class.

    Args:
        decisions: by model, actual and predicted, a row an image.
    """
    figure, axes = plt.subplots(1, len(decisions), figsize=(2.5 * len(decisions), 2.5))
    for axis, (model, rows) in zip(np.atleast_1d(axes), decisions.items(), strict=True):
        table = pd.crosstab(rows["actual"], rows["predicted"])
        counts = table.reindex(index=LABELS, columns=LABELS, fill_value=0).to_numpy()
        shares = counts / counts.sum(axis=1, keepdims=True)
        axis.imshow(shares, "Blues", vmin=0, vmax=1)
        for (row, column), share in np.ndenumerate(shares):
            axis.text(
                column, row, f"{counts[row, column]:,}\n{100 * share:.1f} %", ha="center",
                va="center", fontsize=11, color="white" if share > DARK else "black",
            )  # fmt: skip
        names = [label.lower() for label in LABELS]
        axis.set_xticks(range(len(names)), names)
        axis.set_yticks(range(len(names)), names, rotation=90, va="center")
        axis.set(title=model, xlabel="decision", ylabel="label")
        axis.tick_params(length=0)
        axis.grid(visible=False)
        axis.spines[:].set_visible(False)
    return figure


def learning_curves(histories: dict[str, pd.DataFrame]) -> Figure:
    """Loss and validation AUC by epoch, of each model; a ring marks its best epoch.

    Validation is of the averaged weights; the last epoch is the one that is kept.
    """
    figure, axes = plt.subplots(1, 2, figsize=(8.6, 3.1))
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
    axes[0].set(title="Loss", xlabel="epoch")
    axes[1].set(title="Validation AUC; best epoch ringed, last kept", xlabel="epoch")
    for axis in axes:
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.legend()
    return figure


def _banded(
    axis: Axes, model: str, rows: pd.DataFrame, columns: tuple[str, str], label: str
) -> None:
    x, y = (rows[column] for column in columns)
    colour, step = MODEL_COLOURS[model], columns[0] == "fpr"
    axis.fill_between(x, rows["low"], rows["high"], color=colour, alpha=0.18, linewidth=0,
                      step="post" if step else None)  # fmt: skip
    axis.plot(x, y, color=colour, linestyle=MODEL_LINES[model], linewidth=1.8, label=label,
              drawstyle="steps-post" if step else "default")  # fmt: skip


def _square(axis: Axes) -> None:
    axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")


def _signed_root(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sign(values) * np.sqrt(np.abs(values))


def _signed_square(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sign(values) * np.square(values)
