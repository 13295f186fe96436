"""Source `table`: a folder of DICOM, PNG and JPEG files, mixed or not, with a table `labels.csv`.

| column | meaning |
| --- | --- |
| file | below the folder, with "/" between folders |
| label | NORMAL or PNEUMONIA, or 0 or 1, in capitals or not |
| patient_id | who is on it; without this column each image is its own patient, named by its file |
| split | train, val or test; without this column the test split is drawn by patient |

`val` is pooled with `train`, as by the source `folder`. The patient's id comes from the table
alone: no tag of the DICOM files that names a person is read. Files that no row names are left out,
and counted on standard error; what is there and no image is not.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Container
from functools import partial
from pathlib import Path, PurePosixPath

from pneumonia.core.config import DataParams
from pneumonia.core.errors import InputError
from pneumonia.datasets.csv_table import read_rows
from pneumonia.datasets.manifest import LABELS, SPLITS, SourceImage, read_file
from pneumonia.images.decoding import SUFFIXES

TABLE = "labels.csv"
_LABEL = {"normal": 0, "0": 0, "pneumonia": 1, "1": 1}


def open_source(params: DataParams) -> list[SourceImage]:
    """List the images that `labels.csv` in `data.path` names.

    Raises:
        InputError: no such folder or table, and all that is wrong with its rows, one line each.
    """
    return images_in(Path(params.path), "data.path")


def images_in(root: Path, given: str) -> list[SourceImage]:
    """List the images that `labels.csv` in a folder names; `given` names the folder in a message.

    Raises:
        InputError: as `open_source`.
    """
    if not root.is_dir():
        raise InputError(f"{given}: {root}: no such folder")
    table = root / TABLE
    images: dict[str, SourceImage] = {}
    splits: dict[str, set[str]] = defaultdict(set)
    problems: list[str] = []
    for line, row in read_rows(table, ("file", "label"), ("patient_id", "split")):
        name = PurePosixPath(row["file"])
        reasons = [_file_problem(root, name)] if row["file"] else ["file is empty"]
        if name.as_posix() in images:
            reasons.append("is in a row above")
        if row["label"].lower() not in _LABEL:
            reasons.append(f"label is {row['label']!r}, not {' or '.join(LABELS)}, 0 or 1")
        if row.get("patient_id") == "":
            reasons.append("patient_id is empty")
        if "split" in row and row["split"] not in SPLITS:
            reasons.append(f"split is {row['split']!r}, not {' or '.join(SPLITS)}")
        said = [f"{table}:{line}: {name}: {reason}" for reason in reasons if reason]
        problems += said
        if not said:
            image = _image(root, name, row)
            images[image.file] = image
            splits[image.patient_id].add(row.get("split", ""))
    problems += [
        f"{table}: patient {patient} is in {' and '.join(sorted(where))}; leave out the column "
        "split to have patients split here"
        for patient, where in splits.items()
        if len(where) > 1 and "test" in where  # train and val are pooled
    ]
    labels = {image.label for image in images.values()}
    if not problems and len(labels) == 1:
        problems.append(f"{table}: no row is labelled {LABELS[1 - labels.pop()]}")
    if problems:
        raise InputError("\n".join(problems))
    if unnamed := _unnamed(root, images):
        print(f"{table}: images left out, as no row names them: {unnamed}", file=sys.stderr)
    return list(images.values())


def _unnamed(root: Path, named: Container[str]) -> int:
    """How many files are there that look like images, by their ending, and that no row names."""
    there = (file for file in root.rglob("*") if file.suffix.lower() in (*SUFFIXES, ".dcm"))
    return sum(
        file.relative_to(root).as_posix() not in named
        for file in there
        if file.is_file() and not file.name.startswith(".")
    )


def _file_problem(root: Path, name: PurePosixPath) -> str:
    if name.is_absolute() or ".." in name.parts:
        return f"outside {root}"
    return "" if (root / name).is_file() else "no such file"


def _image(root: Path, name: PurePosixPath, row: dict[str, str]) -> SourceImage:
    label = _LABEL[row["label"].lower()]
    return SourceImage(
        file=name.as_posix(),
        label=label,
        subtype="unknown" if label else "normal",
        patient_id=row.get("patient_id") or _stem(name),
        split="test" if row.get("split") == "test" else "train",
        read=partial(read_file, root / name),
    )


def _stem(name: PurePosixPath) -> str:
    # Of a file named by its UID, 1.2.840.7, the last number is no ending.
    ending = name.suffix.lower() in (*SUFFIXES, ".dcm")
    return (name.with_suffix("") if ending else name).as_posix()
