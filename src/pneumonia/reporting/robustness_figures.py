"""The figure of what models keep under shift."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import Normalize

from pneumonia.evaluation.robustness import METRICS, UNSHIFTED
from pneumonia.reporting.style import DARK, INK

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLES = {"auc": "AUC", "sensitivity": "sensitivity", "specificity": "specificity"}
WORST_SHOWN = 0.3  # loss with the darkest colour; beyond it the number alone tells


def heat_table(table: pd.DataFrame, split: str) -> Figure:
    """Figures under every shift in numbers, with the loss against unshifted images as darkness.

    One hue whose lightness falls evenly, so that print and colour-blind readers see the same.

    Args:
        table: from `robustness.measure`.
        split: the split to show.
    """
    rows = table[table["split"] == split]
    models = sorted(rows["model"].unique())
    labels = rows.loc[rows["model"] == models[0], ["shift", "strength"]].to_numpy()
    starts = [
        row for row in range(1, len(labels)) if row == 1 or labels[row][0] != labels[row - 1][0]
    ]
    norm, colours = Normalize(0, WORST_SHOWN, clip=True), plt.get_cmap("Blues")
    figure, axes = plt.subplots(
        1, len(METRICS), figsize=(7.4, 0.205 * len(labels) + 1), sharey=True
    )
    for axis, metric in zip(axes, METRICS, strict=True):
        values = np.stack([rows.loc[rows["model"] == model, metric] for model in models], axis=1)
        loss = values[0] - values
        image = axis.imshow(loss, colours, norm, aspect="auto", interpolation="nearest")
        for (row, column), value in np.ndenumerate(values):
            dark = norm(loss[row, column]) > DARK
            axis.text(
                column, row, f"{value:.3f}", ha="center", va="center",
                color="white" if dark else "black", fontsize=8,
            )  # fmt: skip
        axis.hlines(
            np.array(starts) - 0.5, -0.5, len(models) - 0.5, color=INK,
            linewidth=[1.2] + [0.4] * (len(starts) - 1),
        )  # fmt: skip
        axis.set_title(TITLES[metric])
        axis.xaxis.tick_top()
        axis.set_xticks(range(len(models)), models)
        axis.tick_params(length=0)
        axis.grid(visible=False)
        axis.spines[:].set_visible(False)
    axes[0].set_yticks(range(len(labels)), [_name(*label) for label in labels])
    # The name of a shift once, at the left of its strengths.
    for start, end in zip(starts, [*starts[1:], len(labels)], strict=True):
        axes[0].annotate(
            labels[start][0], (0, (start + end - 1) / 2), xycoords=("axes fraction", "data"),
            xytext=(-100, 0), textcoords="offset points", va="center", fontweight="bold",
            annotation_clip=False,
        )  # fmt: skip
    bar = figure.colorbar(image, ax=axes, orientation="horizontal", shrink=0.5, aspect=40, pad=0.01)
    bar.set_label("lost against unshifted images")
    bar.outline.set_visible(False)
    return figure


def _name(shift: str, strength: str) -> str:
    return "unshifted" if shift == UNSHIFTED else strength
