"""Records of images, and the files of the prepared folder.

Each line of `manifest.csv` is a `ManifestRow`; they are sorted by `image_id`. Each line of
`quarantine.csv` is a `QuarantinedImage`, an unreadable image; they are sorted by `file`.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pneumonia.core.errors import InputError, refuse
from pneumonia.datasets.csv_table import read_rows
from pneumonia.images.decoding import read_grey
from pneumonia.images.limits import MAX_BYTES

if TYPE_CHECKING:
    import pandas as pd

NAME = "manifest.csv"
QUARANTINE = "quarantine.csv"
QUARANTINE_LISTED = 200  # images listed in the report
LABELS = ("NORMAL", "PNEUMONIA")
SUBTYPES = ("normal", "bacteria", "virus", "unknown")
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class SourceImage:
    """An image of a source, before its file is read."""

    file: str  #: the image's name, unique in the source
    label: int  #: 0 normal, 1 pneumonia
    subtype: str  #: normal, bacteria, virus or unknown
    patient_id: str  #: id of the patient
    #: the split in the source, "train" or "test"; "train" if the source has no splits. Validation
    #: is drawn from train later.
    split: str
    #: function that returns the file's bytes and, if known, the mask of the opacity (bool, (H, W)).
    #: Another process calls the function, so pickle must be able to copy it.
    read: Callable[[], tuple[bytes, NDArray[np.bool_] | None]]


@dataclass(frozen=True)
class ManifestRow:
    """A row of `manifest.csv`; the fields are its columns."""

    image_id: str  #: 16 hex digits of the source file's SHA-256, plus "-1", "-2" for its copies
    file: str  #: the source file, relative to its source, or `phantom/<index>.png`
    label: int  #: 0 normal, 1 pneumonia
    subtype: str  #: normal, bacteria, virus or unknown
    patient_id: str  #: id of the patient, with the series; splits and intervals use it
    split: str  #: train, val or test
    #: width, height: size of the source image as displayed, px.
    width: int
    height: int
    mode: str  #: colour mode of the source image (Pillow's name)
    bytes: int  #: size of the source file
    mask: str  #: file of the opacity's mask, in the prepared folder; empty unless phantom


@dataclass(frozen=True)
class QuarantinedImage:
    """A row of `quarantine.csv`; the fields are its columns."""

    file: str
    label: int
    split: str
    patient_id: str
    reason: str


COLUMNS = [field.name for field in fields(ManifestRow)]
QUARANTINE_COLUMNS = [field.name for field in fields(QuarantinedImage)]
# Without types, pandas would read files named 0001 and 0002 as the numbers 1 and 2.
_TEXT = {field.name: str for field in fields(ManifestRow) if field.type == "str"}


def write_manifest(folder: Path, rows: list[ManifestRow]) -> None:
    """Check the rows with `validate`, and write `manifest.csv` into a prepared folder."""
    rows = sorted(rows, key=lambda row: row.image_id)
    validate(rows, folder / NAME)
    # pandas is not used, because importing it takes longer than writing the file.
    with (folder / NAME).open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        table.writerows(astuple(row) for row in rows)


def read_manifest(folder: Path) -> pd.DataFrame:
    """Read and check `manifest.csv` of a prepared folder.

    Raises:
        InputError: the file is missing or invalid.
    """
    import pandas as pd

    path = folder / NAME
    try:
        table = pd.read_csv(path, dtype=_TEXT, keep_default_na=False)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; `dvc repro prepare` writes it") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a CSV table: {error}") from None
    if list(table.columns) != COLUMNS:
        raise InputError(f"{path}: columns are {list(table.columns)}, not {COLUMNS}")
    validate([ManifestRow(*row) for row in table.itertuples(index=False, name=None)], path)
    return table


def validate(rows: Sequence[ManifestRow], path: Path) -> None:
    """Check the rows of the manifest at `path`.

    Raises:
        InputError: the rows break a rule; the message has one line for each broken rule.
    """
    ids = [row.image_id for row in rows]
    rules = {
        "no image": bool(rows),
        "image_id repeats": len(set(ids)) == len(ids),
        "not sorted by image_id": ids == sorted(ids),
        "label is not 0 or 1": all(row.label in (0, 1) for row in rows),
        f"subtype is not one of {SUBTYPES}": all(row.subtype in SUBTYPES for row in rows),
        f"split is not one of {SPLITS}": all(row.split in SPLITS for row in rows),
        "patient_id is empty": all(row.patient_id for row in rows),
    }
    refuse([f"{path}: {rule}" for rule, holds in rules.items() if not holds])


def image_path(folder: Path, image_id: str) -> Path:
    """The path of a prepared image."""
    return folder / "images" / f"{image_id}.png"


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Report in one line that the block could not read a file of the prepared folder.

    Raises:
        InputError: an image is missing or damaged, or its size differs from the first image's.
    """
    try:
        yield
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: {error}; `dvc repro -f prepare` writes it again") from None


def load_images(folder: Path, table: pd.DataFrame) -> NDArray[np.uint8]:
    """Read the prepared images of a manifest's rows, in the same order: uint8, (N, S, S, 1)."""
    paths = [image_path(folder, image_id) for image_id in table["image_id"]]
    with reading(folder):
        first = read_grey(paths[0])
        images = np.empty((len(paths), *first.shape, 1), np.uint8)
        for row, path in enumerate(paths):
            images[row, ..., 0] = read_grey(path)
    return images


def load_mask(folder: Path, mask: str) -> NDArray[np.bool_]:
    """Read the mask with the file name `mask`: bool, (S, S)."""
    return read_grey(folder / mask) > 0


def digest(folder: Path) -> str:
    """The SHA-256 of the manifest and its images; it identifies the data of a training."""
    hashed = hashlib.sha256((folder / NAME).read_bytes())
    for image_id in read_manifest(folder)["image_id"]:
        hashed.update(image_path(folder, image_id).read_bytes())
    return hashed.hexdigest()


def require_audit(folder: Path, audit: Path) -> str:
    """Check that the file `audit`, which proves that there are no leaks, belongs to `folder`.

    Returns the `digest` of the data.

    Raises:
        InputError: the audit is missing or belongs to other data.
    """
    try:
        audited = json.loads(audit.read_text(encoding="utf-8"))["data_digest"]
    except FileNotFoundError:
        raise InputError(f"{audit}: no such file; `dvc repro visualize` writes it") from None
    current = digest(folder)
    if audited != current:
        raise InputError(f"{audit}: of other data than {folder}; run `dvc repro visualize`")
    return current


def reason_of(error: Exception) -> str:
    """The reason why an image cannot be read, in one line that is equal on all machines."""
    # The text of an OSError has a path of this machine. Other texts may have memory addresses.
    reason = getattr(error, "strerror", None) or str(error)
    return " ".join(re.sub(r" at 0x[0-9a-f]+", "", reason).split())


def write_quarantine(folder: Path, images: list[QuarantinedImage]) -> None:
    """Write `quarantine.csv` into a prepared folder."""
    with (folder / QUARANTINE).open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, QUARANTINE_COLUMNS, lineterminator="\n")
        table.writeheader()
        for image in sorted(images, key=lambda image: image.file):
            table.writerow(asdict(image))


def read_quarantine(folder: Path) -> list[QuarantinedImage]:
    """Read `quarantine.csv` of a prepared folder.

    Raises:
        InputError: the file is missing or damaged.
    """
    path = folder / QUARANTINE
    try:
        return [
            QuarantinedImage(
                row["file"], int(row["label"]), row["split"], row["patient_id"], row["reason"]
            )
            for _, row in read_rows(path, QUARANTINE_COLUMNS, empty=True)
        ]
    except (InputError, ValueError) as error:
        raise InputError(f"{error}; `dvc repro -f prepare` writes {path} again") from None


def quarantine_summary(images: list[QuarantinedImage]) -> dict[str, Any]:
    """The number of images, and the first 200 of them, for audit.json."""
    listed = [asdict(image) for image in images[:QUARANTINE_LISTED]]
    return {"images": len(images), "listed": listed}


def read_file(path: Path) -> tuple[bytes, None]:
    """Read an image file; of a file over 64 MiB, read only one byte more than the limit."""
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1), None
