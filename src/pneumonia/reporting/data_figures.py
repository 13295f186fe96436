"""The figures of `visualize`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumonia.data.image import read_grey
from pneumonia.data.manifest import SPLITS, SUBTYPES, image_path
from pneumonia.reporting.style import SUBTYPE_COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def sample_grid(table: pd.DataFrame, folder: Path, columns: int) -> Figure:
    """Films of each subtype in a row, spread evenly over the manifest, first of their patients."""
    kinds = _kinds(table)
    figure, axes = plt.subplots(
        len(kinds), columns, figsize=(1.5 * columns, 1.55 * len(kinds) + 0.2), squeeze=False
    )
    for row, kind in enumerate(kinds):
        films = table[table["subtype"] == kind].drop_duplicates("patient_id")["image_id"]
        picks = films.iloc[np.linspace(0, len(films) - 1, columns).round().astype(int)]
        for axis, image_id in zip(axes[row], picks, strict=True):
            axis.imshow(read_grey(image_path(folder, image_id)), cmap="gray", vmin=0, vmax=255)
            axis.set_axis_off()
        axes[row, 0].set_title(kind)
    return figure


def balance(table: pd.DataFrame) -> Figure:
    """Films and patients by split and subtype."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 2.8), sharey=True)
    counted = {"films": table, "patients": table.drop_duplicates("patient_id")}
    for axis, (name, rows) in zip(axes, counted.items(), strict=True):
        counts = rows.groupby(["split", "subtype"]).size().unstack(fill_value=0)
        left = np.zeros(len(SPLITS))
        for kind in _kinds(table):
            values = np.array([counts[kind].get(split, 0) for split in SPLITS])
            axis.barh(
                SPLITS, values, left=left, label=kind, color=SUBTYPE_COLOURS[kind],
                edgecolor="white",
            )  # fmt: skip
            left += values
        for place, total in enumerate(left):
            axis.text(total, place, f" {int(total):,}", va="center")
        axis.set_title(name)
        axis.grid(axis="y", visible=False)
        axis.margins(x=0.12)
        axis.invert_yaxis()
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper right", ncols=len(names))
    return figure


def source_shapes(table: pd.DataFrame) -> Figure:
    """Size and aspect ratio of the source files by subtype: what could give the label away."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 2.8))
    values = {
        "aspect ratio, width / height": table["width"] / table["height"],
        "file size, kB": table["bytes"] / 1000,
    }
    kinds = _kinds(table)
    for axis, (name, column) in zip(axes, values.items(), strict=True):
        samples = [column[table["subtype"] == kind] for kind in kinds]
        boxes = axis.boxplot(
            samples, orientation="horizontal", tick_labels=kinds, whis=(2.5, 97.5), sym="",
            patch_artist=True, medianprops={"color": "black"},
        )  # fmt: skip
        for box, kind in zip(boxes["boxes"], kinds, strict=True):
            box.set_facecolor(SUBTYPE_COLOURS[kind])
        axis.set_title(name)
        axis.grid(axis="y", visible=False)
        axis.invert_yaxis()
    return figure


def intensities(table: pd.DataFrame, images: NDArray[np.uint8]) -> Figure:
    """Grey values by subtype, and the mean film of each class with their difference.

    Args:
        table: manifest rows.
        images: uint8, (N, S, S, 1), of those rows.
    """
    figure, axes = plt.subplots(1, 4, figsize=(11, 2.8), width_ratios=[1.6, 1, 1, 1.15])
    for kind in _kinds(table):
        grey = images[(table["subtype"] == kind).to_numpy()]
        counts = np.bincount(grey.ravel(), minlength=256).reshape(64, 4).sum(axis=1)
        axes[0].plot(np.arange(2, 256, 4), counts / counts.sum(), label=kind,
                     color=SUBTYPE_COLOURS[kind])  # fmt: skip
    axes[0].set(title="grey values", xlabel="grey value", ylabel="share of pixels")
    # Padding and collimation pile up at black and would flatten the rest.
    axes[0].set_ylim(0, 0.05)
    axes[0].legend()
    means = [images[(table["label"] == label).to_numpy()].mean(axis=0)[..., 0] for label in (0, 1)]
    for axis, mean, name in zip(axes[1:3], means, ("mean normal", "mean pneumonia"), strict=True):
        axis.imshow(mean, cmap="gray", vmin=0, vmax=255)
        axis.set_title(name)
        axis.set_axis_off()
    difference = means[1] - means[0]
    bound = float(np.abs(difference).max()) or 1.0
    shown = axes[3].imshow(difference, cmap="PuOr_r", vmin=-bound, vmax=bound)
    figure.colorbar(shown, ax=axes[3], label="grey values")
    axes[3].set_title("pneumonia - normal")
    axes[3].set_axis_off()
    return figure


def _kinds(table: pd.DataFrame) -> list[str]:
    present = set(table["subtype"])
    return [kind for kind in SUBTYPES if kind in present]
