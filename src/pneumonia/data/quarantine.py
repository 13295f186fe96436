"""Images that could not be read: the table that `prepare` leaves and the report shows.

Columns of `quarantine.csv`, sorted by `file`: `file`, `label`, `split` and `patient_id` as in the
manifest, had the image been read, and `reason`. A header alone where every image was read.
"""

from __future__ import annotations

import csv
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from pneumonia.data.rows import read_rows
from pneumonia.errors import InputError

NAME = "quarantine.csv"
LISTED = 200  # images written out one by one in the report


@dataclass(frozen=True)
class QuarantinedImage:
    """One image; the fields are the columns above."""

    file: str
    label: int
    split: str
    patient_id: str
    reason: str


COLUMNS = [field.name for field in fields(QuarantinedImage)]


def reason_of(error: Exception) -> str:
    """Why an image cannot be read: one line, the same in every run and on every machine."""
    # An OSError's own text has the path on this machine; libraries name objects by their address.
    reason = getattr(error, "strerror", None) or str(error)
    return " ".join(re.sub(r" at 0x[0-9a-f]+", "", reason).split())


def write_quarantine(folder: Path, images: list[QuarantinedImage]) -> None:
    """Write `quarantine.csv` into a prepared folder."""
    with (folder / NAME).open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        for image in sorted(images, key=lambda image: image.file):
            table.writerow(asdict(image))


def read_quarantine(folder: Path) -> list[QuarantinedImage]:
    """Read `quarantine.csv` of a prepared folder.

    Raises:
        InputError: there is none, or it is broken.
    """
    path = folder / NAME
    try:
        return [
            QuarantinedImage(
                row["file"], int(row["label"]), row["split"], row["patient_id"], row["reason"]
            )
            for _, row in read_rows(path, COLUMNS, empty=True)
        ]
    except (InputError, ValueError) as error:
        raise InputError(f"{error}; `dvc repro -f prepare` makes {path} anew") from None


def as_dict(images: list[QuarantinedImage]) -> dict[str, Any]:
    """For audit.json: how many, and the first of them."""
    return {"images": len(images), "listed": [asdict(image) for image in images[:LISTED]]}
