"""The charts of `visualize`, and the tables behind those that DVC plots too.

None is wider than a column of the page: on a telephone its text is still read.

The pictures of `visualize`: figures made of images.

The page of `visualize`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from pneumonia.audit.duplicates import LISTED, NearDuplicates, Pair
from pneumonia.audit.leaks import NAIVE, Audit
from pneumonia.audit.shortcuts import PROBES, Probe
from pneumonia.audit.survey import GREY_STEP, HASH_BITS
from pneumonia.core.config import AugmentParams
from pneumonia.datasets.manifest import LABELS, SPLITS, SUBTYPES, QuarantinedImage, image_path
from pneumonia.datasets.manifest import QUARANTINE_LISTED as LISTED_IMAGES
from pneumonia.images.decoding import read_grey
from pneumonia.reports.page import ReportFigure, Section, Table, write_page
from pneumonia.reports.style import (
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
    from pneumonia.models.augmentation import augment
    from pneumonia.models.devices import quiet

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


_MEASURES = {"width": "width, px", "height": "height, px", "aspect": "aspect", "bytes": "bytes"}


def write_data_page(
    folder: Path,
    found: Audit,
    near: NearDuplicates,
    probes: dict[str, Probe],
    quarantined: list[QuarantinedImage],
) -> None:
    """Write `index.html` from an audit without leaks and the figures already in `folder`."""
    sections = [
        Section(
            "Images",
            figures=[ReportFigure(folder / "images.png", "images of each subtype, in rows")],
        ),
        Section(
            "Balance",
            [
                "Totals under the names of the splits. A patient with images of two subtypes counts "
                "in both."
            ],
            figures=[
                ReportFigure(folder / "balance_images.png", "images by split and subtype"),
                ReportFigure(folder / "balance_patients.png", "patients by split and subtype"),
            ],
        ),
        Section("Audit", [NAIVE], _checks(found, near, len(quarantined))),
        *([_quarantine(quarantined)] if quarantined else []),
        _shortcuts(folder, probes),
        Section(
            "The source files",
            ["A class that shows in the shape or size of the files is learnt without anatomy."],
            _sources(found),
            [
                ReportFigure(
                    folder / "source.png",
                    "width, height, aspect and file size by subtype",
                    "Boxes hold half of the files, whiskers 95 %. What is the same in every file "
                    "is left out.",
                )
            ],
        ),
        Section(
            "Grey values",
            figures=[
                ReportFigure(folder / "means.png", "mean image of each class and their difference"),
                ReportFigure(folder / "grey_values.png", "histogram of the grey values by class"),
            ],
        ),
        Section(
            "Closest pairs",
            [
                f"Perceptual hashes of {HASH_BITS} bits. Up to {near.distance} differing bits, "
                "pairs are near duplicates: an image saved again, brightened or slightly cropped. "
                "They are reported and do not stop training, since only a person can tell one "
                "image saved twice from two images of one chest. Copies, equal in every pixel, are "
                "not shown.",
                *([] if near.pairs <= LISTED else [f"audit.json lists {LISTED} of them."]),
            ],
            figures=[ReportFigure(folder / "near_duplicates.png", "the closest pairs of images")],
        ),
        Section(
            "Map of the images",
            [
                "Two principal components of the images at 16x16 px. Classes that part here part "
                "by exposure and framing; splits should cover the same ground. The lines "
                "hold half and nine tenths of the images of a kind."
            ],
            figures=[
                ReportFigure(folder / "embedding_class.png", "map of the images by class"),
                ReportFigure(folder / "embedding_split.png", "map of the images by split"),
            ],
        ),
        Section(
            "What training makes of an image",
            [
                "Draws of train_scratch.augment: position, aspect, exposure, blur, noise, blades; "
                "never mirrored."
            ],
            figures=[
                ReportFigure(folder / "augmentation.png", "images and augmented draws of them")
            ],
        ),
    ]
    lead = "The prepared images as the models see them, and the audit that lets training begin."
    write_page(folder / "index.html", "Data", lead, sections)


def _checks(found: Audit, near: NearDuplicates, quarantined: int) -> Table:
    rows = {
        "images": found.images,
        "images in quarantine, not read": quarantined,
        "patients": found.patients,
        "patients in more than one split": 0,
        "identical images in more than one split": 0,
        "groups of identical images": len(found.copy_groups),
        "groups with two patients' ids": found.copies_across_patients,
        "groups with both labels": len(found.label_conflicts),
        "redundant copies in the groups": found.copies,
        "near-duplicate pairs": near.pairs,
        "pairs in two splits": near.across_splits,
        "pairs of two patients": near.across_patients,
        "pairs with both labels": near.across_labels,
        "patients, read without the series": found.patients_naive,
        "of these, seemingly in test and outside": found.patients_naive_shared,
    }
    return Table(["finding", "count"], [[name, f"{count:,}"] for name, count in rows.items()])


def _quarantine(images: list[QuarantinedImage]) -> Section:
    rows = [
        [image.file, LABELS[image.label], image.split, image.patient_id, image.reason]
        for image in images[:LISTED_IMAGES]
    ]
    return Section(
        "Quarantine",
        [
            f"{len(images):,} images could not be read and are in no split. What is left may differ "
            "from what was collected: see whether one class or split lost more than another.",
            *([] if len(images) <= LISTED_IMAGES else [f"The first {LISTED_IMAGES} of them:"]),
        ],
        Table(["file", "class", "split", "patient", "reason"], rows),
    )


def _shortcuts(folder: Path, probes: dict[str, Probe]) -> Section:
    rows = [
        [name, PROBES[name], f"{probe.auc:.3f}", f"{probe.low:.3f} to {probe.high:.3f}"]
        for name, probe in probes.items()
    ]
    return Section(
        "Shortcuts",
        [
            "A logistic regression trained on the train images and scored on the test images, seeing "
            "nothing that a diagnosis should rest on. Read every model's AUC next to these: what a "
            "probe reaches, a network may have got in the same way."
        ],
        Table(["probe", "sees", "AUC", "95 % interval"], rows),
        [ReportFigure(folder / "probes.png", "AUC of each probe with its interval")],
    )


def _sources(found: Audit) -> Table:
    cells = {}
    for row in found.sizes:
        form = ",.2f" if row["measure"] == "aspect" else ",.0f"
        median, low, high = (format(row[end], form) for end in ("median", "low", "high"))
        cells[row["class"], row["measure"]] = f"{median} ({low} to {high})"
    rows = [
        [name, *(cells[label, measure] for label in LABELS)] for measure, name in _MEASURES.items()
    ]
    modes = {
        label: ", ".join(
            f"{row['mode']} {row['files']:,}" for row in found.modes if row["class"] == label
        )
        for label in LABELS
    }
    rows.append(["colour mode, files", *modes.values()])
    heads = [f"{label.lower()}: median (95 %)" for label in LABELS]
    return Table(["source file", *heads], rows)
