"""The manifest: one row an image, the table every later stage starts from.

Columns of `manifest.csv`, sorted by `image_id`:

| column | meaning |
| --- | --- |
| image_id | 16 hex digits of the source file's SHA-256; a redundant copy has "-1", "-2" |
| file | the source file, relative to its source, or `phantom/<index>.png` |
| label | 0 normal, 1 pneumonia |
| subtype | normal, bacteria, virus or unknown |
| patient_id | the patient within the source's series; splits and intervals go by it |
| split | train, val or test |
| width, height | of the source as displayed, px |
| mode | colour mode of the source (Pillow's name) |
| bytes | size of the source file |
| mask | file of the opacity's mask under the prepared folder; phantom only, else empty |

Images that could not be read: the table that `prepare` leaves and the report shows.

Columns of `quarantine.csv`, sorted by `file`: `file`, `label`, `split` and `patient_id` as in the
manifest, had the image been read, and `reason`. A header alone where every image was read.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pneumonia.core.errors import InputError
from pneumonia.datasets.csv_table import read_rows
from pneumonia.images.decoding import read_grey
from pneumonia.images.limits import MAX_BYTES

if TYPE_CHECKING:
    import pandas as pd


NAME = "manifest.csv"
LABELS = ("NORMAL", "PNEUMONIA")
SUBTYPES = ("normal", "bacteria", "virus", "unknown")
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class ManifestRow:
    """One image; the fields are the columns above."""

    image_id: str
    file: str
    label: int
    subtype: str
    patient_id: str
    split: str
    width: int
    height: int
    mode: str
    bytes: int
    mask: str


COLUMNS = [field.name for field in fields(ManifestRow)]
# Unsaid, pandas would read files named 0001 and 0002 as the numbers 1 and 2.
_TEXT = {field.name: str for field in fields(ManifestRow) if field.type == "str"}


def write_manifest(folder: Path, rows: list[ManifestRow]) -> None:
    """Write `manifest.csv` into a prepared folder.

    Raises:
        InputError: rows that break the contract above; nothing is written.
    """
    rows = sorted(rows, key=lambda row: row.image_id)
    validate(rows, folder / NAME)
    # Not by pandas: importing it takes longer than all there is to do.
    with (folder / NAME).open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        table.writerows(astuple(row) for row in rows)


def read_manifest(folder: Path) -> pd.DataFrame:
    """Read and check `manifest.csv` of a prepared folder.

    Raises:
        InputError: no manifest, or one that breaks the contract above.
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
    rows = [ManifestRow(*row) for row in table.itertuples(index=False, name=None)]
    validate(rows, path)
    return table


def validate(rows: Sequence[ManifestRow], path: Path) -> None:
    """Check a manifest's rows against the contract; `path` is for the message.

    Raises:
        InputError: one line a broken rule.
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
    broken = [f"{path}: {rule}" for rule, holds in rules.items() if not holds]
    if broken:
        raise InputError("\n".join(broken))


def image_path(folder: Path, image_id: str) -> Path:
    """Where the prepared image of a row lies."""
    return folder / "images" / f"{image_id}.png"


def load_images(folder: Path, table: pd.DataFrame) -> NDArray[np.uint8]:
    """Read the prepared images of a table's rows: uint8, (N, S, S, 1), in the rows' order."""
    paths = [image_path(folder, image_id) for image_id in table["image_id"]]
    try:
        first = read_grey(paths[0])
        images = np.empty((len(paths), *first.shape, 1), np.uint8)
        for row, path in enumerate(paths):
            images[row, ..., 0] = read_grey(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: {error}; `dvc repro -f prepare` makes it anew") from None
    return images


def load_mask(folder: Path, mask: str) -> NDArray[np.bool_]:
    """Read the mask that a row names: bool, (S, S)."""
    return read_grey(folder / mask) > 0


def digest(folder: Path) -> str:
    """SHA-256 of the manifest and the prepared images: names the data that a model was given."""
    hashed = hashlib.sha256((folder / NAME).read_bytes())
    for image_id in read_manifest(folder)["image_id"]:
        hashed.update(image_path(folder, image_id).read_bytes())
    return hashed.hexdigest()


def require_audit(folder: Path, audit: Path) -> str:
    """Check that the audit without leaks at `audit` is of the data in `folder`; its `digest`.

    Raises:
        InputError: it is of other data, or there is none.
    """
    try:
        audited = json.loads(audit.read_text(encoding="utf-8"))["data_digest"]
    except FileNotFoundError:
        raise InputError(f"{audit}: no such file; `dvc repro visualize` writes it") from None
    found = digest(folder)
    if audited != found:
        raise InputError(f"{audit}: of other data than {folder}; run `dvc repro visualize`")
    return found


QUARANTINE = "quarantine.csv"
QUARANTINE_LISTED = 200  # images written out one by one in the report


@dataclass(frozen=True)
class QuarantinedImage:
    """One image; the fields are the columns above."""

    file: str
    label: int
    split: str
    patient_id: str
    reason: str


QUARANTINE_COLUMNS = [field.name for field in fields(QuarantinedImage)]


def reason_of(error: Exception) -> str:
    """Why an image cannot be read: one line, the same in every run and on every machine."""
    # An OSError's own text has the path on this machine; libraries name objects by their address.
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
        InputError: there is none, or it is broken.
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
        raise InputError(f"{error}; `dvc repro -f prepare` makes {path} anew") from None


def quarantine_summary(images: list[QuarantinedImage]) -> dict[str, Any]:
    """For audit.json: how many, and the first of them."""
    return {
        "images": len(images),
        "listed": [asdict(image) for image in images[:QUARANTINE_LISTED]],
    }


@dataclass(frozen=True)
class SourceImage:
    """An image before it is read.

    Attributes:
        file: its name within the source, unique.
        label: 0 normal, 1 pneumonia.
        subtype: normal, bacteria, virus or unknown.
        patient_id: who is on it.
        split: "train" or "test", as the source has it; validation is drawn from train. A source
            without a split of its own says "train".
        read: gives the file's bytes and, where the truth is known, the mask of the opacity
            (bool, (H, W)). Called in another process, so it must pickle.
    """

    file: str
    label: int
    subtype: str
    patient_id: str
    split: str
    read: Callable[[], tuple[bytes, NDArray[np.bool_] | None]]


def read_file(path: Path) -> tuple[bytes, None]:
    """The `read` of an image that is a file; of one too long, what shows that it is."""
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1), None
