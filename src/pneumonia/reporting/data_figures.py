"""The charts of `visualize`, and the tables behind those that DVC plots too.

None is wider than a column of the page: on a telephone its text is still read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from pneumonia.data.manifest import SPLITS, SUBTYPES
from pneumonia.data.probes import Probe
from pneumonia.data.survey import GREY_STEP
from pneumonia.reporting.style import (
    CLASS_COLOURS,
    GREY,
    INK,
    ORANGE,
    SUBTYPE_COLOURS,
    SUBTYPE_HATCHES,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH = 4.6  # inches
_KINDS = {**CLASS_COLOURS, "train": GREY, "val": ORANGE, "test": INK}


def kinds_of(table: pd.DataFrame) -> list[str]:
    """The subtypes that a table has, in the order of the manifest's contract."""
    present = set(table["subtype"])
    return [kind for kind in SUBTYPES if kind in present]


def class_names(table: pd.DataFrame) -> pd.Series:
    """The class of each row in words, for figures and tables."""
    return table["label"].map(dict(enumerate(CLASS_COLOURS)))


def balance(table: pd.DataFrame, of: str) -> Figure:
    """Images by split and subtype, as shares with their counts; `of` names what a row is."""
    figure, axis = plt.subplots(figsize=(_WIDTH, 2.4))
    totals = table.groupby("split").size()
    counts = table.groupby(["split", "subtype"]).size()
    left = np.zeros(len(SPLITS))
    for kind in kinds_of(table):
        values = np.array([counts.get((split, kind), 0) for split in SPLITS])
        shares = values / [totals.get(split, 1) for split in SPLITS]
        axis.barh(
            SPLITS, shares, left=left, label=kind, color=SUBTYPE_COLOURS[kind],
            hatch=SUBTYPE_HATCHES[kind], edgecolor="white", height=0.72,
        )  # fmt: skip
        for place, (share, count) in enumerate(zip(shares, values, strict=True)):
            if share > 0.06:
                axis.text(
                    left[place] + share / 2, place, f"{count:,}", ha="center", va="center",
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
                )  # fmt: skip
        left += shares
    ticks = [f"{split}\n{int(totals.get(split, 0)):,}" for split in SPLITS]
    axis.set_yticks(range(len(SPLITS)), ticks)
    axis.set_title(of)
    axis.set_xlim(0, 1)
    axis.xaxis.set_major_formatter("{x:.0%}")
    axis.grid(visible=False)
    axis.invert_yaxis()
    handles, names = axis.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper right", ncols=len(names), handleheight=1.2)
    return figure


def source_files(table: pd.DataFrame) -> Figure:
    """Size, aspect and bytes of the source files by subtype, where files differ in them."""
    measures = {
        "width, px": table["width"],
        "height, px": table["height"],
        "aspect, width / height": table["width"] / table["height"],
        "file size, kB": table["bytes"] / 1000,
    }
    # A box without extent looks like a mistake of the drawing.
    varying = {name: column for name, column in measures.items() if column.nunique() > 1}
    shown = varying or measures
    kinds = kinds_of(table)
    figure, axes = plt.subplots(
        len(shown), 1, figsize=(_WIDTH, 1.35 * len(shown) + 0.1), squeeze=False
    )
    for axis, (name, column) in zip(axes[:, 0], shown.items(), strict=True):
        boxes = axis.boxplot(
            [column[table["subtype"] == kind] for kind in kinds],
            orientation="horizontal", tick_labels=kinds, whis=(2.5, 97.5), sym="", widths=0.62,
            patch_artist=True, medianprops={"color": INK, "linewidth": 2},
        )  # fmt: skip
        for box, kind in zip(boxes["boxes"], kinds, strict=True):
            box.set(facecolor=SUBTYPE_COLOURS[kind], hatch=SUBTYPE_HATCHES[kind])
        axis.set_title(name)
        axis.grid(axis="y", visible=False)
        axis.invert_yaxis()
    return figure


def source_tables(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """A row a source file, a table a class, so that DVC draws each class in a colour of its own."""
    columns = pd.DataFrame(
        {
            "width": table["width"],
            "height": table["height"],
            "aspect": (table["width"] / table["height"]).round(4),
            "kilobytes": table["bytes"] / 1000,
            "subtype": table["subtype"],
            "split": table["split"],
        }
    )
    names = class_names(table)
    return {f"source_{name}": columns[names == name] for name in CLASS_COLOURS}


def grey_table(table: pd.DataFrame, histograms: NDArray[np.int64]) -> pd.DataFrame:
    """Share of the pixels of each class by grey value: columns grey, normal, pneumonia.

    Args:
        table: manifest rows.
        histograms: int64, (N, 64), of those rows.
    """
    columns = {"grey": np.arange(histograms.shape[1]) * GREY_STEP}
    for name in CLASS_COLOURS:
        counts = histograms[(class_names(table) == name).to_numpy()].sum(axis=0)
        columns[name] = (counts / max(int(counts.sum()), 1)).round(6)
    return pd.DataFrame(columns)


def grey_values(shares: pd.DataFrame) -> Figure:
    """Histogram of the grey values by class; `shares` from `grey_table`."""
    figure, axis = plt.subplots(figsize=(_WIDTH, 2.8))
    for name, line in zip(CLASS_COLOURS, ("-", "--"), strict=True):
        axis.plot(
            shares["grey"] + GREY_STEP / 2, shares[name] * 100, line, label=name,
            color=CLASS_COLOURS[name], linewidth=1.8,
        )  # fmt: skip
    # Padding and collimation pile up at black and would flatten the rest.
    top = 115 * float(shares[list(CLASS_COLOURS)].iloc[2:-2].max().max())
    axis.set(xlabel="grey value, 0 black", ylabel="% of pixels", xlim=(0, 256), ylim=(0, top))
    black = shares[list(CLASS_COLOURS)].iloc[0] * 100
    if black.max() > top:
        said = " and ".join(f"{black[name]:.0f} % ({name})" for name in CLASS_COLOURS)
        axis.set_title(f"darkest bin, cut off: {said}", fontsize=8, fontweight="normal")
    axis.legend()
    return figure


def probe_bars(probes: dict[str, Probe]) -> Figure:
    """AUC of each probe with its interval, against the line of chance."""
    figure, axis = plt.subplots(figsize=(_WIDTH, 0.62 * len(probes) + 1))
    for place, probe in enumerate(probes.values()):
        axis.barh(place, probe.auc, height=0.56, color="#b9c4cf", edgecolor=INK, linewidth=0.8)
        axis.plot([probe.low, probe.high], [place, place], color=INK, linewidth=2, marker="|",
                  markersize=9)  # fmt: skip
        said = f"{probe.auc:.2f} [{probe.low:.2f}, {probe.high:.2f}]"
        axis.text(1.03, place, said, va="center", transform=axis.get_yaxis_transform())
    axis.axvline(0.5, color=INK, linestyle="--", linewidth=1)
    axis.text(0.5, -0.62, "chance", ha="center", va="bottom", fontsize=8)
    axis.set_yticks(range(len(probes)), list(probes))
    axis.set(xlim=(0, 1), ylim=(len(probes) - 0.5, -0.6), xlabel="AUC on test, 95 % by patient")
    axis.grid(axis="y", visible=False)
    return figure


def embed(thumbnails: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """First two principal components of the images at 16x16 px.

    Principal components and not t-SNE: the same on every run, and distances keep their meaning.

    Args:
        thumbnails: uint8, (N, 32, 32).

    Returns:
        (N, 2), in standard deviations, and the share of the variance of each, (2,).
    """
    small = thumbnails.reshape(len(thumbnails), 16, 2, 16, 2).mean(axis=(2, 4))
    rows = small.reshape(len(small), -1)
    rows = rows - rows.mean(axis=0)
    variances, axes = np.linalg.eigh(rows.T @ rows / len(rows))
    best = axes[:, [-1, -2]]
    # An eigenvector's sign is arbitrary: its largest entry shall be positive.
    best *= np.sign(best[np.abs(best).argmax(axis=0), [0, 1]])
    points = rows @ best
    return points / np.maximum(points.std(axis=0), 1e-9), variances[[-1, -2]] / variances.sum()


def embedding(
    points: NDArray[np.float64], shares: NDArray[np.float64], names: pd.Series, by: str
) -> Figure:
    """Map of the images, with lines around half and around nine tenths of each kind.

    Args:
        points, shares: from `embed`.
        names: (N,), the kind of each image: its class, or its split.
        by: what `names` are, for the title.
    """
    figure, axis = plt.subplots(figsize=(_WIDTH, 4.2))
    colours = names.map(_KINDS)
    # In the manifest's order, which is that of hashes, so that no kind covers another.
    axis.scatter(points[:, 0], points[:, 1], s=5, linewidths=0, alpha=0.45, color=colours)
    for name, line in zip(
        [kind for kind in _KINDS if kind in set(names)], ("-", "--", ":"), strict=False
    ):
        _outline(axis, points[(names == name).to_numpy()], points, _KINDS[name], line)
        axis.plot([], [], line, color=_KINDS[name], linewidth=1.8, label=name)
    axis.set(
        title=f"by {by}", xlabel=f"first component, {shares[0]:.0%} of the variance",
        ylabel=f"second, {shares[1]:.0%}", aspect="equal",
    )  # fmt: skip
    axis.legend(loc="upper right", frameon=True, edgecolor="none", framealpha=0.9)
    return figure


def _outline(
    axis: Axes, here: NDArray[np.float64], points: NDArray[np.float64], colour: str, line: str
) -> None:
    """Lines around the densest places that hold half, and nine tenths, of the points `here`."""
    reach = [(low - 1, high + 1) for low, high in zip(points.min(0), points.max(0), strict=True)]
    counts, across, up = np.histogram2d(here[:, 0], here[:, 1], bins=90, range=reach)
    # Scott's rule for two dimensions, in bins.
    widths = len(here) ** (-1 / 6) * here.std(axis=0) / [across[1] - across[0], up[1] - up[0]]
    density = gaussian_filter(counts, np.maximum(widths, 1))
    ranked = np.sort(density, axis=None)[::-1]
    held = np.cumsum(ranked) / ranked.sum()
    levels = sorted({float(ranked[np.searchsorted(held, share)]) for share in (0.5, 0.9)})
    middles = [(edges[1:] + edges[:-1]) / 2 for edges in (across, up)]
    # White below colour, so that the line is seen on the points.
    axis.contour(*middles, density.T, levels, colors="white", linewidths=3.4)
    axis.contour(
        *middles, density.T, levels, colors=colour, linewidths=1.8, linestyles=[line] * len(levels)
    )
