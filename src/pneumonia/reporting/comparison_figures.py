"""The figures of `evaluate` that hold models against each other, as points with 95 % intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumonia.reporting.results import NAMES
from pneumonia.reporting.style import GREY, INK, MODEL_COLOURS, MODEL_MARKERS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HIGHER, LOWER = (
    ("auc", "average_precision", "accuracy", "balanced_accuracy", "sensitivity", "specificity",
     "ppv", "npv", "f1", "mcc"),
    ("brier", "ece"),
)  # fmt: skip
SUBGROUP_METRICS = ("auc", "sensitivity", "specificity")


def metrics(intervals: pd.DataFrame) -> Figure:
    """All metrics of both models on one split, those that are better when low below.

    Args:
        intervals: of one split; model, metric, value, low, high.
    """
    models = intervals["model"].unique()
    figure, axes = plt.subplots(
        2, 1, figsize=(4.8, 5.9), height_ratios=[len(HIGHER) + 0.6, len(LOWER) + 0.6]
    )
    titles = ("Higher is better", "Lower is better")
    for axis, title, shown in zip(axes, titles, (HIGHER, LOWER), strict=True):
        for place, model in enumerate(models):
            rows = intervals[intervals["model"] == model].set_index("metric").loc[list(shown)]
            at = np.arange(len(shown)) + _offset(place, len(models))
            _points(axis, str(model), rows, at)
        axis.set_title(title)
        _rows(axis, [NAMES[metric] for metric in shown])
    axes[0].set_xlim(right=1.015)
    axes[1].set_xlim(left=0)
    _legend(figure, axes[0])
    return figure


def contenders(table: pd.DataFrame) -> Figure:
    """AUC of the models and of the shortcut probes, the best first.

    Args:
        table: name, kind ("model" or "probe"), auc, low, high.
    """
    figure, axis = plt.subplots(figsize=(5.0, 0.42 * len(table) + 1.1))
    for place, row in enumerate(table.itertuples(index=False)):
        name = str(row.name)
        one = pd.DataFrame([{"value": row.auc, "low": row.low, "high": row.high}])
        _points(axis, name if row.kind == "model" else "", one, np.array([float(place)]))
    axis.axvline(0.5, color=INK, linewidth=1, linestyle=":")
    _rows(axis, [f"{row.kind}: {row.name}" for row in table.itertuples(index=False)])
    axis.set(title="Models and shortcut probes", xlabel="AUC; dotted: a guess")
    axis.set_xlim(min(0.48, float(table["low"].min()) - 0.02), 1.015)
    return figure


def subgroups(table: pd.DataFrame) -> Figure:
    """AUC, sensitivity and specificity by subgroup.

    Args:
        table: of one split: model, attribute, group, images, and each metric with its interval.
    """
    models = table["model"].unique()
    groups = table.drop_duplicates(["attribute", "group"])[["attribute", "group", "images"]]
    figure, axes = plt.subplots(
        1, len(SUBGROUP_METRICS), figsize=(8.6, 0.5 * len(groups) + 1.3),
        sharex=True, sharey=True,
    )  # fmt: skip
    for axis, metric in zip(axes, SUBGROUP_METRICS, strict=True):
        for place, model in enumerate(models):
            rows = groups.merge(table[table["model"] == model], how="left")
            named = rows.rename(
                columns={metric: "value", f"{metric}_low": "low", f"{metric}_high": "high"}
            )
            _points(axis, str(model), named, np.arange(len(groups)) + _offset(place, len(models)))
        axis.set_title(NAMES[metric])
        axis.tick_params(axis="y", length=0)
        axis.grid(axis="y", visible=False)
    # All panels alike, from the lowest limit of all; each alone would cut off the others' bars.
    lows = [f"{metric}_low" for metric in SUBGROUP_METRICS]
    lowest = min(0.95, float(np.nanmin(table[lows].to_numpy(dtype=float))))
    axes[0].set_xlim(1 - 1.06 * (1 - lowest), 1 + 0.06 * (1 - lowest))
    _rows(axes[0], [_group(*row) for row in groups.itertuples(index=False)])
    _legend(figure, axes[0])
    return figure


def _legend(figure: Figure, axis: Axes) -> None:
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))


def _points(axis: Axes, model: str, rows: pd.DataFrame, at: NDArray[np.floating]) -> None:
    """Values with intervals at heights `at`; grey, without a place in the legend, if no model."""
    values = rows["value"].to_numpy(dtype=float)
    reach = [values - rows["low"].to_numpy(dtype=float), rows["high"] - values]
    axis.errorbar(
        values, at, xerr=np.maximum(reach, 0), fmt=MODEL_MARKERS.get(model, "D"), markersize=5,
        color=MODEL_COLOURS.get(model, GREY), elinewidth=1.4, capsize=2.5, label=model or None,
    )  # fmt: skip


def _rows(axis: Axes, names: list[str]) -> None:
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.grid(axis="y", visible=False)
    axis.tick_params(axis="y", length=0)


def _offset(place: int, count: int) -> float:
    return (place - (count - 1) / 2) * 0.3


def _group(attribute: str, group: str, images: int) -> str:
    name = f"size: {group}" if attribute == "size" else group
    return f"{name} ({images:,})"
