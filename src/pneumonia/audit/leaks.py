"""Count a prepared data set, and find leaks between its splits."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pneumonia.audit.duplicates import pixel_groups
from pneumonia.datasets.manifest import LABELS

NAIVE = (
    "File names of the Kermany set number patients within a series: person12_bacteria and "
    "person12_virus are two children, and so are IM-0115 and NORMAL2-IM-0115. Reading only the "
    "number, as published studies did, merges them and reports leaks that do not exist. Names "
    "cannot prove identity, so both counts are given."
)


@dataclass(frozen=True)
class Audit:
    """The findings of the audit.

    `dvc metrics` leaves out lists. So values that no experiment compares are lists.
    """

    #: images, patients: the number of images and of patients.
    images: int
    patients: int
    #: number of patients if the series is left out of the id, as in published studies; see `NAIVE`.
    patients_naive: int
    patients_naive_shared: int  #: how many of these patients seem to be in test and another split
    patients_naive_why: list[str]  #: why the audit gives two counts
    counts: dict[str, dict[str, int]]  #: number of images by split and subtype
    #: number of patients by split and subtype; a patient with two subtypes is counted twice.
    patient_counts: dict[str, dict[str, int]]
    copies: int  #: number of images that repeat an earlier image
    copies_across_patients: int  #: number of groups of identical images from several patients
    copy_groups: list[list[str]]  #: the groups of identical images, as file names
    label_conflicts: list[list[str]]  #: groups of identical images with both labels, as file names
    #: median, 2.5 and 97.5 percentile of the source files' width, height, aspect and bytes; one
    #: row for each label and measure.
    sizes: list[dict[str, Any]]
    modes: list[dict[str, Any]]  #: number of files by label and colour mode of the source
    #: one line for each patient, or group of identical images, that is in several splits.
    leaks: list[str]


def audit(table: pd.DataFrame, folder: Path) -> Audit:
    """Audit a prepared folder with the manifest `table`."""
    table = table.assign(
        pixels=pixel_groups(table, folder),
        naive=table["patient_id"].map(naive_patient),
        name=table["label"].map(dict(enumerate(LABELS))),
    )
    identical = [group for _, group in table.groupby("pixels") if len(group) > 1]
    groups = [(f"patient {patient} is", group) for patient, group in table.groupby("patient_id")]
    groups += [("identical images", group) for group in identical]
    naive_test = set(table.loc[table["split"] == "test", "naive"])
    naive_others = set(table.loc[table["split"] != "test", "naive"])
    return Audit(
        images=len(table),
        patients=int(table["patient_id"].nunique()),
        patients_naive=int(table["naive"].nunique()),
        patients_naive_shared=len(naive_test & naive_others),
        patients_naive_why=[NAIVE],
        counts=_by_split(table),
        patient_counts=_by_split(table.drop_duplicates(["patient_id", "split", "subtype"])),
        copies=len(table) - int(table["pixels"].nunique()),
        copies_across_patients=sum(group["patient_id"].nunique() > 1 for group in identical),
        copy_groups=sorted(sorted(group["file"]) for group in identical),
        label_conflicts=[
            sorted(group["file"]) for group in identical if group["label"].nunique() > 1
        ],
        sizes=_sizes(table),
        modes=_modes(table),
        leaks=[
            f"{subject} in {_where(group)}"
            for subject, group in groups
            if group["split"].nunique() > 1
        ],
    )


def naive_patient(patient_id: str) -> str:
    """Remove the series from a patient id, as if the number alone identified the patient."""
    match = re.fullmatch(r"(person\d+)_(?:bacteria|virus)|(?:NORMAL2-)?(IM-\d+)", patient_id)
    return next(part for part in match.groups() if part) if match else patient_id


def _by_split(table: pd.DataFrame) -> dict[str, dict[str, int]]:
    counts = pd.crosstab(table["split"], table["subtype"])
    return {
        str(split): {str(kind): int(count) for kind, count in row.items()}
        for split, row in counts.iterrows()
    }


def _sizes(table: pd.DataFrame) -> list[dict[str, Any]]:
    measured = table.assign(aspect=table["width"] / table["height"])
    ends = {"median": 0.5, "low": 0.025, "high": 0.975}
    return [
        {"class": name, "measure": measure}
        | {end: round(float(group[measure].quantile(share)), 3) for end, share in ends.items()}
        for name, group in measured.groupby("name")
        for measure in ("width", "height", "aspect", "bytes")
    ]


def _modes(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {"class": name, "mode": mode, "files": len(group)}
        for (name, mode), group in table.groupby(["name", "mode"])
    ]


def _where(group: pd.DataFrame) -> str:
    files = group.sort_values(["split", "file"]).groupby("split")["file"].agg(", ".join)
    return " and in ".join(f"{split} ({names})" for split, names in files.items())
