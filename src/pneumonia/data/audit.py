"""What is in a prepared data set, and whether its splits leak into each other."""

from __future__ import annotations

import hashlib
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pneumonia.data.manifest import image_path


@dataclass(frozen=True)
class Audit:
    """The findings.

    Attributes:
        films, patients: how many there are.
        patients_naive: how many patients one counts when the series is left out of the id, as
            published studies did: person12_bacteria and person12_virus are two children.
        patients_naive_shared: how many of those then seem to be in test and outside it.
        counts: films by split and subtype.
        copies: redundant films, same pixels as another one.
        label_conflicts: groups of films with the same pixels and both labels, by file.
        leaks: a line for each patient, and each group of identical films, in more than one split.
    """

    films: int
    patients: int
    patients_naive: int
    patients_naive_shared: int
    counts: dict[str, dict[str, int]]
    copies: int
    label_conflicts: list[list[str]]
    leaks: list[str]

    def as_dict(self) -> dict[str, Any]:
        """For audit.json."""
        return asdict(self)


def audit(table: pd.DataFrame, folder: Path) -> Audit:
    """Audit a prepared folder whose manifest is `table`."""
    pixels = table["image_id"].map(lambda image_id: _pixel_hash(image_path(folder, image_id)))
    table = table.assign(pixels=pixels, naive=table["patient_id"].map(naive_patient))
    identical = [group for _, group in table.groupby("pixels") if len(group) > 1]
    leaks = [
        f"patient {patient} is in {_where(group)}"
        for patient, group in table.groupby("patient_id")
        if group["split"].nunique() > 1
    ]
    leaks += [
        f"identical films in {_where(group)}" for group in identical if group["split"].nunique() > 1
    ]
    counts = table.groupby(["split", "subtype"]).size().unstack(fill_value=0)
    seen_in_test = set(table.loc[table["split"] == "test", "naive"])
    seen_elsewhere = set(table.loc[table["split"] != "test", "naive"])
    return Audit(
        films=len(table),
        patients=int(table["patient_id"].nunique()),
        patients_naive=int(table["naive"].nunique()),
        patients_naive_shared=len(seen_in_test & seen_elsewhere),
        counts={
            str(split): {str(kind): int(count) for kind, count in row.items()}
            for split, row in counts.iterrows()
        },
        copies=len(table) - int(table["pixels"].nunique()),
        label_conflicts=[sorted(g["file"]) for g in identical if g["label"].nunique() > 1],
        leaks=leaks,
    )


def naive_patient(patient_id: str) -> str:
    """A patient id without its series: what one gets by reading only the number."""
    match = re.fullmatch(r"(person\d+)_(?:bacteria|virus)|(?:NORMAL2-)?(IM-\d+)", patient_id)
    return next(part for part in match.groups() if part) if match else patient_id


def _pixel_hash(path: Path) -> str:
    # Prepared images come from one encoder without metadata: equal pixels, equal bytes.
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _where(group: pd.DataFrame) -> str:
    files = group.sort_values(["split", "file"]).groupby("split")["file"].agg(", ".join)
    return " and in ".join(f"{split} ({names})" for split, names in files.items())
