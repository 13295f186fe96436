"""The data page of `visualize`: charts, figures with images, and the tables that DVC plots.

No chart is wider than a column of the page, so that its text is readable on a phone.
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
from pneumonia.reports.page import PageFigure, Section, Table, write_page
from pneumonia.reports.style import CLASS_COLOURS, GREY, INK, ORANGE, SUBTYPE_LOOKS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


DRAWS = 5  # augmented versions per image
PAIRS = 6  # number of closest pairs shown
_WIDTH = 4.6  # width of a chart, inches
_GROUP_COLOURS = {**CLASS_COLOURS, "train": GREY, "val": ORANGE, "test": INK}


def subtypes_of(table: pd.DataFrame) -> list[str]:
    """The subtypes in a table, in their usual order."""
    present = set(table["subtype"])
    return [subtype for subtype in SUBTYPES if subtype in present]


def class_names(table: pd.DataFrame) -> pd.Series:
    """The class of each row as text, for figures and tables."""
    return table["label"].map(dict(enumerate(CLASS_COLOURS)))


def balance(table: pd.DataFrame, title: str) -> Figure:
    """Bars with the share and count of each subtype by split; `title` says what is counted."""
    figure, axis = plt.subplots(figsize=(_WIDTH, 2.4))
    counts = pd.crosstab(table["subtype"], table["split"]).reindex(columns=SPLITS, fill_value=0)
    totals = counts.sum()
    left = np.zeros(len(SPLITS))
    for subtype in subtypes_of(table):
        shares = (counts.loc[subtype] / totals.clip(lower=1)).to_numpy()
        axis.barh(SPLITS, shares, left=left, label=subtype, edgecolor="white", height=0.72,
                  **SUBTYPE_LOOKS[subtype])  # fmt: skip
        for place, (share, count) in enumerate(zip(shares, counts.loc[subtype], strict=True)):
            if share > 0.06:
                axis.text(
                    left[place] + share / 2, place, f"{count:,}", ha="center", va="center",
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
                )  # fmt: skip
        left += shares
    axis.set_yticks(range(len(SPLITS)), [f"{split}\n{totals[split]:,}" for split in SPLITS])
    axis.set(title=title, xlim=(0, 1))
    axis.xaxis.set_major_formatter("{x:.0%}")
    axis.grid(visible=False)
    axis.invert_yaxis()
    handles, names = axis.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper right", ncols=len(names), handleheight=1.2)
    return figure


def source_files(table: pd.DataFrame) -> Figure:
    """Box plots of the source files' size, aspect and bytes by subtype, if these values vary."""
    measures = {
        "width, px": table["width"],
        "height, px": table["height"],
        "aspect, width / height": table["width"] / table["height"],
        "file size, kB": table["bytes"] / 1000,
    }
    # If all values are equal, the box is only a line and looks like an error.
    varying = {name: column for name, column in measures.items() if column.nunique() > 1}
    shown = varying or measures
    subtypes = subtypes_of(table)
    figure, axes = plt.subplots(
        len(shown), 1, figsize=(_WIDTH, 1.35 * len(shown) + 0.1), squeeze=False
    )
    for axis, (name, column) in zip(axes[:, 0], shown.items(), strict=True):
        boxes = axis.boxplot(
            [column[table["subtype"] == subtype] for subtype in subtypes],
            orientation="horizontal", tick_labels=subtypes, whis=(2.5, 97.5), sym="", widths=0.62,
            patch_artist=True, medianprops={"color": INK, "linewidth": 2},
        )  # fmt: skip
        for box, subtype in zip(boxes["boxes"], subtypes, strict=True):
            box.set(**SUBTYPE_LOOKS[subtype])
        axis.set_title(name)
        axis.grid(axis="y", visible=False)
        axis.invert_yaxis()
    return figure


def source_tables(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """One table per class, one row per source file. DVC then draws each class in its own colour."""
    columns = table.assign(
        aspect=(table["width"] / table["height"]).round(4), kilobytes=table["bytes"] / 1000
    )[["width", "height", "aspect", "kilobytes", "subtype", "split"]]
    names = class_names(table)
    return {f"source_{name}": columns[names == name] for name in CLASS_COLOURS}


def grey_table(table: pd.DataFrame, histograms: NDArray[np.int64]) -> pd.DataFrame:
    """Each class's share of pixels by grey value. The columns are grey, normal and pneumonia.

    `histograms`, int64, (N, 64), has one row for each row of `table`.
    """
    columns = {"grey": np.arange(histograms.shape[1]) * GREY_STEP}
    for name in CLASS_COLOURS:
        counts = histograms[(class_names(table) == name).to_numpy()].sum(axis=0)
        columns[name] = (counts / max(int(counts.sum()), 1)).round(6)
    return pd.DataFrame(columns)


def grey_values(shares: pd.DataFrame) -> Figure:
    """Histogram of the grey values by class; `shares` is the result of `grey_table`."""
    figure, axis = plt.subplots(figsize=(_WIDTH, 2.8))
    middles = shares["grey"] + GREY_STEP / 2
    percent = shares[list(CLASS_COLOURS)] * 100
    for (name, colour), line in zip(CLASS_COLOURS.items(), ("-", "--"), strict=True):
        axis.plot(middles, percent[name], line, label=name, color=colour, linewidth=1.8)
    # Padding and collimation are black. Their high peak would make the other values look flat.
    top = 1.15 * float(percent.iloc[2:-2].max().max())
    axis.set(xlabel="grey value, 0 black", ylabel="% of pixels", xlim=(0, 256), ylim=(0, top))
    black = percent.iloc[0]
    if black.max() > top:
        peaks = " and ".join(f"{black[name]:.0f} % ({name})" for name in CLASS_COLOURS)
        axis.set_title(f"darkest bin, cut off: {peaks}", fontsize=8, fontweight="normal")
    axis.legend()
    return figure


def probe_bars(probes: dict[str, Probe]) -> Figure:
    """Bars with the AUC and interval of each probe; a line marks the AUC of a random guess."""
    figure, axis = plt.subplots(figsize=(_WIDTH, 0.62 * len(probes) + 1))
    for place, probe in enumerate(probes.values()):
        axis.barh(place, probe.auc, height=0.56, color="#b9c4cf", edgecolor=INK, linewidth=0.8)
        axis.plot([probe.low, probe.high], [place, place], color=INK, linewidth=2, marker="|",
                  markersize=9)  # fmt: skip
        value = f"{probe.auc:.2f} [{probe.low:.2f}, {probe.high:.2f}]"
        axis.text(1.03, place, value, va="center", transform=axis.get_yaxis_transform())
    axis.axvline(0.5, color=INK, linestyle="--", linewidth=1)
    axis.text(0.5, -0.62, "chance", ha="center", va="bottom", fontsize=8)
    axis.set_yticks(range(len(probes)), list(probes))
    axis.set(xlim=(0, 1), ylim=(len(probes) - 0.5, -0.6),
             xlabel="AUC on test, 95 % interval by patient")  # fmt: skip
    axis.grid(axis="y", visible=False)
    return figure


def embed(thumbnails: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """First two principal components of the images at 16x16 px.

    Unlike t-SNE, this gives the same result on every run, and distances keep their meaning.

    Args:
        thumbnails: uint8, (N, 32, 32).

    Returns:
        The points, (N, 2), in standard deviations, and each component's share of variance, (2,).
    """
    small = thumbnails.reshape(len(thumbnails), 16, 2, 16, 2).mean(axis=(2, 4))
    rows = small.reshape(len(small), -1)
    rows -= rows.mean(axis=0)
    variances, axes = np.linalg.eigh(rows.T @ rows / len(rows))
    best = axes[:, [-1, -2]]
    # An eigenvector's sign is arbitrary, so make its largest entry positive.
    best *= np.sign(best[np.abs(best).argmax(axis=0), [0, 1]])
    points = rows @ best
    return points / np.maximum(points.std(axis=0), 1e-9), variances[[-1, -2]] / variances.sum()


def embedding(
    points: NDArray[np.float64], shares: NDArray[np.float64], names: pd.Series, by: str
) -> Figure:
    """Map of the images. Two lines per group contain half and nine tenths of its points.

    Points and shares are from `embed`. `names`, (N,), are classes or splits; `by` says which.
    """
    figure, axis = plt.subplots(figsize=(_WIDTH, 4.2))
    # The manifest is sorted by hash. Points in this order are mixed, so no group covers another.
    x, y = points.T
    axis.scatter(x, y, s=5, linewidths=0, alpha=0.45, color=names.map(_GROUP_COLOURS))
    groups = [group for group in _GROUP_COLOURS if group in set(names)]
    for name, line in zip(groups, ("-", "--", ":"), strict=False):
        _outline(axis, points[(names == name).to_numpy()], points, _GROUP_COLOURS[name], line)
        axis.plot([], [], line, color=_GROUP_COLOURS[name], linewidth=1.8, label=name)
    axis.set(title=f"by {by}", xlabel=f"first component, {shares[0]:.0%} of the variance",
             ylabel=f"second, {shares[1]:.0%}", aspect="equal")  # fmt: skip
    axis.legend(loc="upper right", frameon=True, edgecolor="none", framealpha=0.9)
    return figure


def _outline(
    axis: Axes, group: NDArray[np.float64], points: NDArray[np.float64], colour: str, line: str
) -> None:
    """Draw lines around the densest areas that contain half and nine tenths of the group."""
    limits = [(low - 1, high + 1) for low, high in zip(points.min(0), points.max(0), strict=True)]
    counts, across, up = np.histogram2d(group[:, 0], group[:, 1], bins=90, range=limits)
    # The width of the blur in bins, by Scott's rule for two dimensions.
    widths = len(group) ** (-1 / 6) * group.std(axis=0) / [across[1] - across[0], up[1] - up[0]]
    density = gaussian_filter(counts, np.maximum(widths, 1))
    ranked = np.sort(density, axis=None)[::-1]
    shares = np.cumsum(ranked) / ranked.sum()
    levels = sorted({float(ranked[np.searchsorted(shares, share)]) for share in (0.5, 0.9)})
    middles = [(edges[1:] + edges[:-1]) / 2 for edges in (across, up)]
    # The white line below the coloured line keeps the outline visible on the points.
    axis.contour(*middles, density.T, levels, colors="white", linewidths=3.4)
    axis.contour(
        *middles, density.T, levels, colors=colour, linewidths=1.8, linestyles=[line] * len(levels)
    )


def sample_grid(table: pd.DataFrame, folder: Path, columns: int) -> Figure:
    """One row per subtype. Its images are of different patients, at even steps of the manifest."""
    subtypes = subtypes_of(table)
    figure, axes = _grid(len(subtypes), columns)
    for row, subtype in enumerate(subtypes):
        images = table[table["subtype"] == subtype].drop_duplicates("patient_id")["image_id"]
        picks = images.iloc[np.linspace(0, len(images) - 1, columns).round().astype(int)]
        for axis, image_id in zip(axes[row], picks, strict=True):
            _show(axis, read_grey(image_path(folder, image_id)))
        _name_row(axes[row, 0], subtype if subtype == "normal" else f"pneumonia\n{subtype}")
    return figure


def mean_images(means: NDArray[np.float64]) -> Figure:
    """The mean image of each class, and their difference, from `means`, (2, S, S)."""
    figure, axes = plt.subplot_mosaic(
        [["normal", "pneumonia"], ["difference", "difference"]], figsize=(_WIDTH, 6.2),
        height_ratios=[1, 1.7],
    )  # fmt: skip
    for name, mean in zip(CLASS_COLOURS, means, strict=True):
        _show(axes[name], mean)
        axes[name].set_title(f"mean of {name}")
    axis = axes["difference"]
    difference = means[1] - means[0]
    bound = float(np.abs(difference).max()) or 1.0
    shown = axis.imshow(difference, cmap="PuOr_r", vmin=-bound, vmax=bound)
    # In a grey print, both ends of the scale look dark. Therefore lines below zero are dashed.
    levels = bound * np.array([-0.66, -0.33, 0.33, 0.66])
    axis.contour(difference, levels, colors="black", linewidths=0.7)
    figure.colorbar(shown, ax=axis, label="grey values; dashed lines: darker")
    axis.set_title("pneumonia - normal")
    axis.set_axis_off()
    return figure


def augmentation(table: pd.DataFrame, folder: Path, params: AugmentParams, seed: int) -> Figure:
    """One image of each subtype, and augmented versions of this image."""
    from pneumonia.models.augmentation import augment
    from pneumonia.models.devices import quiet

    with quiet():
        import tensorflow as tf

    subtypes = subtypes_of(table)
    figure, axes = _grid(len(subtypes), 1 + DRAWS)
    for row, subtype in enumerate(subtypes):
        image_id = table.loc[table["subtype"] == subtype, "image_id"].iloc[0]
        image = read_grey(image_path(folder, image_id))
        batch = np.repeat(image[None, ..., None], DRAWS, axis=0)
        drawn = augment(tf.constant(batch), params, tf.constant([seed, row])).numpy()[..., 0]
        for axis, pixels in zip(axes[row], [image, *drawn], strict=True):
            _show(axis, pixels)
        _name_row(axes[row, 0], subtype)
    axes[0, 0].set_title("the image")
    axes[0, 1].set_title("augmented versions")
    return figure


def closest(table: pd.DataFrame, folder: Path, pairs: list[Pair], distance: int) -> Figure:
    """The closest pairs of images that are not identical, one pair per column."""
    figure, axes = plt.subplots(2, PAIRS, figsize=(9.2, 4.0))
    for axis in axes.flat:
        axis.set_axis_off()
    rows = table.assign(name=class_names(table))
    for column, pair in enumerate(pairs[:PAIRS]):
        both = rows.iloc[[pair.first, pair.second]]
        for axis, row in zip(axes[:, column], both.to_dict("records"), strict=True):
            _show(axis, read_grey(image_path(folder, row["image_id"])))
            axis.set_title(f"{row['split']}, {row['name']}", fontsize=8, fontweight="normal")
        near = "near" if pair.distance <= distance else "not near"
        patients = "one patient" if both["patient_id"].nunique() == 1 else "two patients"
        axis.text(0.5, -0.05, f"{pair.distance} bits: {near}\n{patients}", fontsize=8, ha="center",
                  va="top", transform=axis.transAxes)  # fmt: skip
    return figure


def _grid(rows: int, columns: int) -> tuple[Figure, NDArray[np.object_]]:
    size = (9.2, (9.2 / columns + 0.05) * rows)
    gaps = {"wspace": 0.02, "hspace": 0.02}
    return plt.subplots(rows, columns, figsize=size, squeeze=False, gridspec_kw=gaps)


def _show(axis: Axes, pixels: NDArray[np.uint8] | NDArray[np.float64]) -> None:
    axis.imshow(pixels, cmap="gray", vmin=0, vmax=255)
    axis.set_axis_off()


def _name_row(axis: Axes, name: str) -> None:
    axis.text(
        -0.06, 0.5, name, rotation=90, ha="right", va="center", fontweight="bold",
        multialignment="center", transform=axis.transAxes,
    )  # fmt: skip


def write_data_page(
    folder: Path,
    audit: Audit,
    near: NearDuplicates,
    probes: dict[str, Probe],
    quarantined: list[QuarantinedImage],
) -> None:
    """Write `index.html` from an audit without leaks and from the figures in `folder`."""
    sections = [
        Section("Images", figures=[PageFigure("images", "Images of each subtype, in rows")]),
        Section(
            "Balance",
            ["Totals are below the names of the splits. A patient with images of two subtypes is "
             "counted in both."],
            figures=[
                PageFigure("balance_images", "Images by split and subtype"),
                PageFigure("balance_patients", "Patients by split and subtype"),
            ],
        ),
        Section("Audit", [NAIVE], _checks(audit, near, len(quarantined))),
        *([_quarantine(quarantined)] if quarantined else []),
        Section(
            "Shortcuts",
            ["Each probe is a logistic regression, trained on the training images and scored on "
             "the test images. It sees nothing that a diagnosis should be based on. Compare the "
             "AUC of every model with these: a network can use the same shortcuts."],
            Table(
                ["probe", "sees", "AUC", "95 % interval"],
                [[name, PROBES[name], f"{probe.auc:.3f}", f"{probe.low:.3f} to {probe.high:.3f}"]
                 for name, probe in probes.items()],
            ),
            [PageFigure("probes", "AUC of each probe with its interval")],
        ),
        Section(
            "The source files",
            ["If the files of the classes differ in shape or size, a model can learn this instead "
             "of anatomy."],
            _sources(audit),
            [PageFigure(
                "source", "Width, height, aspect and file size by subtype",
                "Boxes contain half of the files, whiskers 95 %. Properties that are the same in "
                "every file are left out.",
            )],
        ),
        Section(
            "Grey values",
            figures=[
                PageFigure("means", "Mean image of each class and their difference"),
                PageFigure("grey_values", "Histogram of the grey values by class"),
            ],
        ),
        Section(
            "Closest pairs",
            [f"Images are compared by perceptual hashes of {HASH_BITS} bits. Pairs that differ in "
             f"at most {near.distance} bits are near duplicates: for example an image that was "
             "saved again, brightened or slightly cropped. They are reported and do not stop "
             "training, because only a person can distinguish one image saved twice from two "
             "images of one chest. Identical images are not shown.",
             *([] if near.pairs <= LISTED else [f"audit.json lists {LISTED} of the pairs."])],
            figures=[PageFigure("near_duplicates", "The closest pairs of images")],
        ),
        Section(
            "Map of the images",
            ["Two principal components of the images at 16x16 px. Classes that are separate here "
             "differ in exposure and framing; splits should overlap. The lines contain half and "
             "nine tenths of the images of a group."],
            figures=[
                PageFigure("embedding_class", "Map of the images by class"),
                PageFigure("embedding_split", "Map of the images by split"),
            ],
        ),
        Section(
            "Augmentation",
            ["Random versions with the values of augment in params.yaml: position, aspect, "
             "exposure, blur, noise, collimator blades. Images are never mirrored."],
            figures=[PageFigure("augmentation", "Images and augmented versions of them")],
        ),
    ]  # fmt: skip
    lead = (
        "The prepared images as the models see them, and the audit that must pass before training."
    )
    write_page(folder / "index.html", "Data", lead, sections)


def _checks(audit: Audit, near: NearDuplicates, quarantined: int) -> Table:
    rows = {
        "images": audit.images,
        "images in quarantine, not read": quarantined,
        "patients": audit.patients,
        "patients in more than one split": 0,
        "identical images in more than one split": 0,
        "groups of identical images": len(audit.copy_groups),
        "groups with two patients' ids": audit.copies_across_patients,
        "groups with both labels": len(audit.label_conflicts),
        "redundant copies in the groups": audit.copies,
        "near-duplicate pairs": near.pairs,
        "near-duplicate pairs in two splits": near.across_splits,
        "near-duplicate pairs of two patients": near.across_patients,
        "near-duplicate pairs with both labels": near.across_labels,
        "patients, if the series is ignored": audit.patients_naive,
        "of these, apparently in test and elsewhere": audit.patients_naive_shared,
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
            f"{len(images):,} images could not be read and are in no split. The others may be a "
            "biased selection: check whether one class or split lost more than another.",
            *([] if len(images) <= LISTED_IMAGES else [f"The first {LISTED_IMAGES} of them:"]),
        ],
        Table(["file", "class", "split", "patient", "reason"], rows),
    )


def _sources(audit: Audit) -> Table:
    measures = {"width": "width, px", "height": "height, px", "aspect": "aspect", "bytes": "bytes"}
    cells = {}
    for row in audit.sizes:
        form = ",.2f" if row["measure"] == "aspect" else ",.0f"
        median, low, high = (format(row[end], form) for end in ("median", "low", "high"))
        cells[row["class"], row["measure"]] = f"{median} ({low} to {high})"
    rows = [[name, *(cells[label, key] for label in LABELS)] for key, name in measures.items()]
    modes = [
        [f"{row['mode']} {row['files']:,}" for row in audit.modes if row["class"] == label]
        for label in LABELS
    ]
    rows.append(["colour mode, files", *(", ".join(files) for files in modes)])
    heads = [f"{label.lower()}: median (95 %)" for label in LABELS]
    return Table(["source file", *heads], rows)
