"""The page of `visualize`."""

from __future__ import annotations

from pathlib import Path

from pneumonia.data.audit import NAIVE, Audit
from pneumonia.data.duplicates import LISTED, NearDuplicates
from pneumonia.data.manifest import LABELS
from pneumonia.data.probes import PROBES, Probe
from pneumonia.data.quarantine import LISTED as LISTED_IMAGES
from pneumonia.data.quarantine import QuarantinedImage
from pneumonia.data.survey import HASH_BITS
from pneumonia.reporting.page import Figure, Section, Table, write_page

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
            "Images", figures=[Figure(folder / "images.png", "images of each subtype, in rows")]
        ),
        Section(
            "Balance",
            [
                "Totals under the names of the splits. A patient with images of two subtypes counts "
                "in both."
            ],
            figures=[
                Figure(folder / "balance_images.png", "images by split and subtype"),
                Figure(folder / "balance_patients.png", "patients by split and subtype"),
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
                Figure(
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
                Figure(folder / "means.png", "mean image of each class and their difference"),
                Figure(folder / "grey_values.png", "histogram of the grey values by class"),
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
            figures=[Figure(folder / "near_duplicates.png", "the closest pairs of images")],
        ),
        Section(
            "Map of the images",
            [
                "Two principal components of the images at 16x16 px. Classes that part here part "
                "by exposure and framing; splits should cover the same ground. The lines "
                "hold half and nine tenths of the images of a kind."
            ],
            figures=[
                Figure(folder / "embedding_class.png", "map of the images by class"),
                Figure(folder / "embedding_split.png", "map of the images by split"),
            ],
        ),
        Section(
            "What training makes of an image",
            [
                "Draws of train_scratch.augment: position, aspect, exposure, blur, noise, blades; "
                "never mirrored."
            ],
            figures=[Figure(folder / "augmentation.png", "images and augmented draws of them")],
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
        [Figure(folder / "probes.png", "AUC of each probe with its interval")],
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
