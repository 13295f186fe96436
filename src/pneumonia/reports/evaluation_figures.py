"""The figures of the evaluation page: curves, points with intervals, and losses under shift.

The curves use the tables of `evaluation.curves`; `dvc plots` draws the same tables. Bands and bars
are 95 % intervals, one for each point, from a bootstrap of patients.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import Normalize
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from pneumonia.datasets.manifest import LABELS
from pneumonia.evaluation.robustness import METRICS, UNSHIFTED
from pneumonia.reports.results import NAMES, Results
from pneumonia.reports.style import CLASS_COLOURS, DARK, GREY, INK, MODELS, PROBE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_TICKS = np.array([1, 5, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000])
_PAPER = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5}
_SHIFTS = (-0.15, 0.15)  # vertical offset of each model's points, so that they do not overlap
# Settings of axes that show shares from 0 to 1.
_UNIT: dict[str, Any] = {"xlim": (-0.02, 1.02), "ylim": (-0.02, 1.02), "aspect": "equal"}


def roc(results: Results) -> Figure:
    """ROC curves with interval bands, and the operating point of each model."""
    figure, axis = plt.subplots(figsize=(4.6, 4.6))
    axis.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":")
    for model, rows in results.curves["roc"].items():
        # Begin the curve in the corner, at (0, 0).
        start = pd.DataFrame({"fpr": [0.0], "tpr": [0.0], "low": [0.0], "high": [0.0]})
        label = f"{model}  {results.text(model, 'test', 'auc')}"
        _banded(axis, model, pd.concat([start, rows]), ("fpr", "tpr"), label)
        false_alarms = 1 - results.value(model, "specificity")
        _dot(axis, model, false_alarms, results.value(model, "sensitivity"))
    axis.set(title="ROC; dots: operating points", xlabel="1 - specificity", ylabel="sensitivity",
             **_UNIT)  # fmt: skip
    axis.legend(loc="lower right", title="AUC [95 % interval]")
    return figure


def precision_recall(results: Results) -> Figure:
    """Precision by recall with bands, the operating points, and a random guess as a dotted line."""
    figure, axis = plt.subplots(figsize=(4.6, 4.6))
    actual = results.curves["confusion"][results.models[0]]["actual"]
    axis.axhline((actual == "PNEUMONIA").mean(), color=GREY, linewidth=1, linestyle=":")
    for model, rows in results.curves["precision_recall"].items():
        label = f"{model}  {results.text(model, 'test', 'average_precision')}"
        _banded(axis, model, rows, ("recall", "precision"), label)
        _dot(axis, model, results.value(model, "sensitivity"), results.value(model, "ppv"))
    axis.set(title="Precision and recall; dots: operating points", xlabel="recall (sensitivity)",
             ylabel="precision (positive predictive value)", **_UNIT)  # fmt: skip
    axis.legend(loc="lower left", title="average precision [95 % interval]")
    return figure


def calibration(results: Results) -> Figure:
    """Observed share of pneumonia by probability, before and after calibration."""
    figure, axes = plt.subplots(1, 2, figsize=(8.6, 4.5), sharey=True)
    titles = {"Before calibration": "reliability_uncalibrated", "After calibration": "reliability"}
    for axis, (title, curve) in zip(axes, titles.items(), strict=True):
        axis.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":")
        for model, rows in results.curves[curve].items():
            look = MODELS[model]
            axis.errorbar(
                rows["probability"], rows["observed"], _lengths(rows, "observed"), fmt="o",
                markersize=5, linestyle=look.line, linewidth=1.2, elinewidth=0.9, capsize=2.5,
                color=look.colour, label=model,
            )  # fmt: skip
        axis.set(title=title, xlabel="probability (mean of a bin)", **_UNIT)
    axes[0].set_ylabel("observed share of pneumonia")
    axes[0].legend(loc="upper left")
    return figure


def scores(results: Results) -> Figure:
    """Histograms of the probability, pneumonia upwards and normal downwards, a panel per model.

    The height of a bar is the square root of its count, so that a single error is visible.
    """
    curves = results.curves["scores"]
    figure, axes = plt.subplots(1, len(curves), figsize=(3.75 * len(curves), 3.3), squeeze=False)
    highest = max(int(rows[["normal", "pneumonia"]].to_numpy().max()) for rows in curves.values())
    up = _TICKS[highest >= _TICKS]
    for axis, (model, rows) in zip(axes[0], curves.items(), strict=True):
        width = rows["probability"].iloc[1] - rows["probability"].iloc[0]
        axis.set_yscale("function", functions=(_signed_root, lambda values: values * abs(values)))
        for name, sign in (("pneumonia", 1), ("normal", -1)):
            heights = sign * rows[name]
            axis.bar(rows["probability"], heights, 0.92 * width, color=CLASS_COLOURS[name])
            axis.text(0.5, sign * highest * 0.93, name, ha="center", va="center", fontweight="bold",
                      bbox=_PAPER)  # fmt: skip
        axis.axhline(0, color=INK, linewidth=0.8)
        threshold = results.points[model].threshold
        axis.axvline(threshold, color=INK, linestyle="--", linewidth=1.2)
        place, side = (threshold - 0.02, "right") if threshold > 0.5 else (threshold + 0.02, "left")
        axis.text(place, -highest * 0.42, f"threshold {threshold:.3f}", ha=side, va="center",
                  bbox=_PAPER)  # fmt: skip
        axis.yaxis.set_major_locator(FixedLocator([*-up[::-1], 0, *up]))
        axis.yaxis.set_minor_locator(NullLocator())
        axis.yaxis.set_major_formatter(lambda value, _: f"{abs(value):,.0f}")
        axis.set(title=model, xlabel="probability of pneumonia", xlim=(0, 1),
                 ylim=(-highest * 1.15, highest * 1.15))  # fmt: skip
    axes[0, 0].set_ylabel("images (square-root scale)")
    return figure


def decision(results: Results) -> Figure:
    """Net benefit by threshold probability (Vickers & Elkin 2006), and the operating points."""
    curves = results.curves["decision"]
    figure, axis = plt.subplots(figsize=(5.2, 4.3))
    reference = next(iter(curves.values()))
    axis.plot(reference["threshold"], reference["treat_all"], color=INK, linewidth=1,
              linestyle=":", label="all images pneumonia")  # fmt: skip
    axis.axhline(0, color=GREY, linewidth=1.2, label="no image pneumonia")
    for model, rows in curves.items():
        _banded(axis, model, rows, ("threshold", "net_benefit"), model)
        threshold = results.points[model].threshold
        benefit = float(np.interp(threshold, rows["threshold"], rows["net_benefit"]))
        _dot(axis, model, threshold, benefit)
    top = max(rows["high"].max() for rows in curves.values())
    axis.set(title="Decision curve; dots: operating points", xlabel="threshold probability",
             ylabel="net benefit per image", xlim=(0, 1),
             ylim=(-0.25 * top, 1.08 * top))  # fmt: skip
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def confusion(decisions: dict[str, pd.DataFrame]) -> Figure:
    """Counts of test images by label and decision; the colour is the share within the label."""
    figure, axes = plt.subplots(1, len(decisions), figsize=(2.5 * len(decisions), 2.5))
    for axis, (model, rows) in zip(np.atleast_1d(axes), decisions.items(), strict=True):
        table = pd.crosstab(rows["actual"], rows["predicted"])
        counts = table.reindex(index=LABELS, columns=LABELS, fill_value=0).to_numpy()
        shares = counts / counts.sum(axis=1, keepdims=True)
        axis.imshow(shares, "Blues", vmin=0, vmax=1)
        pairs = zip(counts.flat, shares.flat, strict=True)
        _cells(axis, shares, [f"{count:,}\n{100 * share:.1f} %" for count, share in pairs], 11)
        axis.set_xticks(range(len(CLASS_COLOURS)), CLASS_COLOURS)
        axis.set_yticks(range(len(CLASS_COLOURS)), CLASS_COLOURS, rotation=90, va="center")
        axis.set(title=model, xlabel="decision", ylabel="label")
    return figure


def _cells(axis: Axes, shades: NDArray[np.float64], texts: list[str], size: int) -> None:
    """Write a text in each cell of an image and hide the frame; cells have shades of 0 to 1."""
    for ((row, column), shade), text in zip(np.ndenumerate(shades), texts, strict=True):
        axis.text(column, row, text, ha="center", va="center", fontsize=size,
                  color="white" if shade > DARK else "black")  # fmt: skip
    axis.tick_params(length=0)
    axis.grid(visible=False)
    axis.spines[:].set_visible(False)


def learning_curves(histories: dict[str, pd.DataFrame]) -> Figure:
    """Loss and validation AUC of each model by epoch; a ring marks its best epoch.

    The validation values are of the averaged weights. The model keeps the last epoch's weights.
    """
    figure, axes = plt.subplots(1, 2, figsize=(8.6, 3.1))
    for model, history in histories.items():
        colour, epochs = MODELS[model].colour, history["epoch"]
        if "loss" in history:
            axes[0].plot(epochs, history["loss"], ":", color=colour, label=f"{model}, training")
        axes[0].plot(epochs, history["val_loss"], color=colour, label=f"{model}, validation")
        axes[1].plot(epochs, history["val_auc"], ".-", color=colour, label=model)
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
    look, steps = MODELS[model], columns[0] == "fpr"
    axis.fill_between(x, rows["low"], rows["high"], color=look.colour, alpha=0.18, linewidth=0,
                      step="post" if steps else None)  # fmt: skip
    axis.plot(x, y, color=look.colour, linestyle=look.line, linewidth=1.8, label=label,
              drawstyle="steps-post" if steps else "default")  # fmt: skip


def _dot(axis: Axes, model: str, x: float, y: float) -> None:
    axis.plot(x, y, "o", color=MODELS[model].colour, markeredgecolor=INK, markersize=7)


def _signed_root(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sign(values) * np.sqrt(np.abs(values))


def _lengths(rows: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """The lengths of the error bars below and above the values of a column, shape (2, N)."""
    lengths = [rows[column] - rows["low"], rows["high"] - rows[column]]
    return np.maximum(np.array(lengths, float), 0)


_PANELS = {
    "Higher is better": ["auc", "average_precision", "accuracy", "balanced_accuracy",
                         "sensitivity", "specificity", "ppv", "npv", "f1", "mcc"],
    "Lower is better": ["brier", "ece"],
}  # fmt: skip


def metrics(intervals: pd.DataFrame) -> Figure:
    """Metrics of both models. The lower panel has the metrics for which lower is better.

    `intervals` has the rows of one split; its columns are model, metric, value, low, high.
    """
    heights = [len(shown) + 0.6 for shown in _PANELS.values()]
    figure, axes = plt.subplots(2, 1, figsize=(4.8, 5.9), height_ratios=heights)
    for axis, (title, shown) in zip(axes, _PANELS.items(), strict=True):
        models = intervals.groupby("model", sort=False)
        for shift, (model, rows) in zip(_SHIFTS, models, strict=True):
            _points(axis, str(model), rows.set_index("metric").loc[shown], shift)
        axis.set_title(title)
        _rows(axis, [NAMES[metric] for metric in shown])
    axes[0].set_xlim(right=1.015)
    axes[1].set_xlim(left=0)
    _legend(figure, axes[0])
    return figure


def contenders(table: pd.DataFrame) -> Figure:
    """AUC of the models and of the shortcut probes, the best first.

    The columns of `table` are name, kind ("model" or "probe"), auc, low, high.
    """
    figure, axis = plt.subplots(figsize=(5.0, 0.42 * len(table) + 1.1))
    for place, row in enumerate(table.to_dict("records")):
        model = row["name"] if row["kind"] == "model" else ""
        _points(axis, model, pd.DataFrame([row]).rename(columns={"auc": "value"}), place)
    axis.axvline(0.5, color=INK, linewidth=1, linestyle=":")
    _rows(axis, table["kind"] + ": " + table["name"])
    axis.set(title="Models and shortcut probes", xlabel="AUC; dotted: random guess",
             xlim=(min(0.48, table["low"].min() - 0.02), 1.015))  # fmt: skip
    return figure


def subgroups(table: pd.DataFrame) -> Figure:
    """AUC, sensitivity and specificity by subgroup; `table` has the rows of one split."""
    groups = table.drop_duplicates(["attribute", "group"])[["attribute", "group", "images"]]
    figure, axes = plt.subplots(1, len(METRICS), figsize=(8.6, 0.5 * len(groups) + 1.3),
                                sharex=True, sharey=True)  # fmt: skip
    names = groups["group"].where(groups["attribute"] != "size", "size: " + groups["group"])
    names += groups["images"].map(" ({:,})".format)
    for axis, metric in zip(axes, METRICS, strict=True):
        ends = {metric: "value", f"{metric}_low": "low", f"{metric}_high": "high"}
        models = table.groupby("model", sort=False)
        for shift, (model, rows) in zip(_SHIFTS, models, strict=True):
            _points(axis, str(model), groups.merge(rows, how="left").rename(columns=ends), shift)
        axis.set_title(NAMES[metric])
        _rows(axis, names)
    # All panels share one scale, which begins just below the lowest interval.
    lows = [f"{metric}_low" for metric in METRICS]
    lowest = min(0.95, float(np.nanmin(table[lows].to_numpy(dtype=float))))
    axes[0].set_xlim(1 - 1.06 * (1 - lowest), 1 + 0.06 * (1 - lowest))
    _legend(figure, axes[0])
    return figure


def _legend(figure: Figure, axis: Axes) -> None:
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))


def _points(axis: Axes, model: str, rows: pd.DataFrame, first: float) -> None:
    """Draw values with intervals, one below the other; `first` is the height of the first one.

    If `model` is "", the values belong to a shortcut probe: grey, and not in the legend.
    """
    look = MODELS.get(model, PROBE)
    axis.errorbar(
        rows["value"].astype(float), first + np.arange(len(rows)),
        xerr=_lengths(rows, "value"), fmt=look.marker, color=look.colour, markersize=5,
        elinewidth=1.4, capsize=2.5, label=model or None,
    )  # fmt: skip


def _rows(axis: Axes, names: Sequence[str] | pd.Series) -> None:
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.grid(axis="y", visible=False)
    axis.tick_params(axis="y", length=0)


WORST_SHOWN = 0.3  # losses of this size or more have the darkest colour


def heat_table(table: pd.DataFrame, split: str) -> Figure:
    """Metrics under every shift as numbers; the darker a cell, the larger the loss.

    One hue from light to dark is also clear in a grey print and to colour-blind readers.
    `table` is from `robustness.measure`.
    """
    rows = table[table["split"] == split]
    models = sorted(rows["model"].unique())
    labels = rows.loc[rows["model"] == models[0], ["shift", "strength"]].to_numpy()
    starts = [row for row in range(1, len(labels)) if labels[row][0] != labels[row - 1][0]]
    norm = Normalize(0, WORST_SHOWN, clip=True)
    figure, axes = plt.subplots(
        1, len(METRICS), figsize=(7.4, 0.205 * len(labels) + 1), sharey=True
    )
    for axis, metric in zip(axes, METRICS, strict=True):
        values = np.stack([rows.loc[rows["model"] == model, metric] for model in models], axis=1)
        loss = values[0] - values
        image = axis.imshow(loss, "Blues", norm, aspect="auto", interpolation="nearest")
        _cells(axis, norm(loss), [f"{value:.3f}" for value in values.flat], 8)
        axis.hlines(
            np.array(starts) - 0.5, -0.5, len(models) - 0.5, color=INK,
            linewidth=[1.2] + [0.4] * (len(starts) - 1),
        )  # fmt: skip
        axis.set_title(NAMES[metric])
        axis.xaxis.tick_top()
        axis.set_xticks(range(len(models)), models)
    names = ["unshifted" if shift == UNSHIFTED else strength for shift, strength in labels]
    axes[0].set_yticks(range(len(labels)), names)
    # Write the name of each shift once, to the left of its strengths.
    for start, end in zip(starts, [*starts[1:], len(labels)], strict=True):
        axes[0].annotate(
            labels[start][0], (0, (start + end - 1) / 2), xycoords=("axes fraction", "data"),
            xytext=(-100, 0), textcoords="offset points", va="center", fontweight="bold",
            annotation_clip=False,
        )  # fmt: skip
    bar = figure.colorbar(image, ax=axes, orientation="horizontal", shrink=0.5, aspect=40, pad=0.01)
    bar.set_label("loss compared with unshifted images")
    bar.outline.set_visible(False)
    return figure
