"""The pictures of `visualize`: figures made of images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumonia.data.duplicates import Pair
from pneumonia.data.image import read_grey
from pneumonia.data.manifest import image_path
from pneumonia.params import AugmentParams
from pneumonia.reporting.data_figures import class_names, kinds_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DRAWS = 5  # of the augmentation, beside each image
PAIRS = 6  # closest pairs shown


def sample_grid(table: pd.DataFrame, folder: Path, columns: int) -> Figure:
    """Images of each subtype in a row, spread evenly over the manifest, first of their patients."""
    kinds = kinds_of(table)
    figure, axes = _grid(len(kinds), columns)
    for row, kind in enumerate(kinds):
        images = table[table["subtype"] == kind].drop_duplicates("patient_id")["image_id"]
        picks = images.iloc[np.linspace(0, len(images) - 1, columns).round().astype(int)]
        for axis, image_id in zip(axes[row], picks, strict=True):
            _show(axis, read_grey(image_path(folder, image_id)))
        name = kind if kind == "normal" else f"pneumonia\n{kind}"
        _name_row(axes[row, 0], name)
    return figure


def mean_images(means: NDArray[np.float64]) -> Figure:
    """The mean image of each class and their difference.

    Args:
        means: (2, S, S), normal and pneumonia.
    """
    figure = plt.figure(figsize=(4.6, 6.2))
    places = figure.add_gridspec(2, 2, height_ratios=[1, 1.7])
    for column, name in enumerate(("normal", "pneumonia")):
        axis = figure.add_subplot(places[0, column])
        _show(axis, means[column])
        axis.set_title(f"mean of {name}")
    axis = figure.add_subplot(places[1, :])
    difference = means[1] - means[0]
    bound = float(np.abs(difference).max()) or 1.0
    shown = axis.imshow(difference, cmap="PuOr_r", vmin=-bound, vmax=bound)
    # Both ends of the scale print as dark: lines tell them apart, broken ones are below zero.
    levels = bound * np.array([-0.66, -0.33, 0.33, 0.66])
    axis.contour(difference, levels, colors="black", linewidths=0.7)
    figure.colorbar(shown, ax=axis, label="grey values; dashed lines: darker")
    axis.set_title("pneumonia - normal")
    axis.set_axis_off()
    return figure


def augmentation(table: pd.DataFrame, folder: Path, params: AugmentParams, seed: int) -> Figure:
    """An image of each subtype, and what training may make of it."""
    from pneumonia.models.augment import augment
    from pneumonia.models.quiet import quiet

    with quiet():
        import tensorflow as tf

    kinds = kinds_of(table)
    figure, axes = _grid(len(kinds), 1 + DRAWS)
    for row, kind in enumerate(kinds):
        image_id = table.loc[table["subtype"] == kind, "image_id"].iloc[0]
        image = read_grey(image_path(folder, image_id))
        batch = np.repeat(image[None, ..., None], DRAWS, axis=0)
        drawn = augment(tf.constant(batch), params, tf.constant([seed, row])).numpy()[..., 0]
        for axis, pixels in zip(axes[row], [image, *drawn], strict=True):
            _show(axis, pixels)
        _name_row(axes[row, 0], kind)
    axes[0, 0].set_title("the image")
    axes[0, 1].set_title("drawn in training")
    return figure


def closest(table: pd.DataFrame, folder: Path, pairs: list[Pair], distance: int) -> Figure:
    """The closest pairs of images that are no copies, side by side: above first, below second."""
    figure, axes = plt.subplots(2, PAIRS, figsize=(9.2, 4.0))
    for axis in axes.flat:
        axis.set_axis_off()
    names = class_names(table)
    for column, pair in enumerate(pairs[:PAIRS]):
        rows = (pair.first, pair.second)
        for axis, row in zip(axes[:, column], rows, strict=True):
            _show(axis, read_grey(image_path(folder, table["image_id"].iloc[row])))
            where = f"{table['split'].iloc[row]}, {names.iloc[row]}"
            axis.set_title(where, fontsize=8, fontweight="normal")
        near = "near" if pair.distance <= distance else "not near"
        same = table["patient_id"].iloc[list(rows)].nunique() == 1
        patients = "one patient" if same else "two patients"
        axes[1, column].text(
            0.5, -0.05, f"{pair.distance} bits: {near}\n{patients}",
            fontsize=8, ha="center", va="top", transform=axes[1, column].transAxes,
        )  # fmt: skip
    return figure


def _grid(rows: int, columns: int) -> tuple[Figure, NDArray[np.object_]]:
    side = 9.2 / columns
    figure, axes = plt.subplots(
        rows, columns, figsize=(9.2, (side + 0.05) * rows), squeeze=False,
        gridspec_kw={"wspace": 0.02, "hspace": 0.02},
    )  # fmt: skip
    return figure, axes


def _show(axis: Axes, pixels: NDArray[np.uint8] | NDArray[np.float64]) -> None:
    axis.imshow(pixels, cmap="gray", vmin=0, vmax=255)
    axis.set_axis_off()


def _name_row(axis: Axes, name: str) -> None:
    axis.text(
        -0.06, 0.5, name, rotation=90, ha="right", va="center", fontweight="bold",
        multialignment="center", transform=axis.transAxes,
    )  # fmt: skip
