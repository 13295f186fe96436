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
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pneumonia.data.image import read_grey
from pneumonia.errors import InputError

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
