"""Source `table`: a folder of DICOM, PNG and JPEG files with a table `labels.csv`.

| column | meaning |
| --- | --- |
| file | path of the image file below the folder, with "/" between folders |
| label | NORMAL or PNEUMONIA in upper or lower case, or 0 or 1 |
| patient_id | id of the patient; without this column each image's patient is named by its file |
| split | train, val or test; without this column the test split is drawn by patient |

`val` is merged with `train`, as in the source `folder`. The patient's id comes only from the table;
no DICOM tag that names a person is read. Image files without a row are left out; their number is
printed on standard error.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from functools import partial
from pathlib import Path, PurePosixPath

from pneumonia.core.config import DataParams
from pneumonia.core.errors import InputError, refuse
from pneumonia.datasets.csv_table import read_rows
from pneumonia.datasets.manifest import LABELS, SPLITS, SourceImage, read_file
from pneumonia.images.decoding import SUFFIXES

TABLE = "labels.csv"
ENDINGS = (*SUFFIXES, ".dcm")
_LABEL = {"normal": 0, "0": 0, "pneumonia": 1, "1": 1}


def open_source(params: DataParams) -> list[SourceImage]:
    """List the images of `labels.csv` in `data.path`; raise the same errors as `images_in`."""
    return images_in(Path(params.path), "data.path")


def images_in(root: Path, given: str) -> list[SourceImage]:
    """List the images of `labels.csv` in a folder; messages call the folder `given`.

    Raises:
        InputError: the folder or the table is missing; or rows are wrong (one line per problem).
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
            reasons.append("is in another row, too")
        if row["label"].lower() not in _LABEL:
            reasons.append(f"label is {row['label']!r}, not {' or '.join(LABELS)}, 0 or 1")
        if row.get("patient_id") == "":
            reasons.append("patient_id is empty")
        if "split" in row and row["split"] not in SPLITS:
            reasons.append(f"split is {row['split']!r}, not {' or '.join(SPLITS)}")
        problems += [f"{table}:{line}: {name}: {reason}" for reason in reasons if reason]
        if not any(reasons):
            image = _image(root, name, row)
            images[image.file] = image
            splits[image.patient_id].add(row.get("split", ""))
    problems += [
        f"{table}: patient {patient} is in {' and '.join(sorted(names))}; without the column "
        "split, patients are split here"
        for patient, names in splits.items()
        if len(names) > 1 and "test" in names  # train and val are merged
    ]
    labels = {image.label for image in images.values()}
    if not problems and len(labels) == 1:
        problems.append(f"{table}: no row is labelled {LABELS[1 - labels.pop()]}")
    refuse(problems)
    files = (file for file in root.rglob("*") if file.suffix.lower() in ENDINGS)
    without_row = sum(
        file.relative_to(root).as_posix() not in images
        for file in files
        if file.is_file() and not file.name.startswith(".")
    )
    if without_row:
        message = f"{table}: image files left out because no row names them: {without_row}"
        print(message, file=sys.stderr)
    return list(images.values())


def _file_problem(root: Path, name: PurePosixPath) -> str:
    if name.is_absolute() or ".." in name.parts:
        return f"outside {root}"
    return "" if (root / name).is_file() else "no such file"


def _image(root: Path, name: PurePosixPath, row: dict[str, str]) -> SourceImage:
    label = _LABEL[row["label"].lower()]
    ending = name.suffix.lower() in ENDINGS
    return SourceImage(
        file=name.as_posix(),
        label=label,
        subtype="unknown" if label else "normal",
        # In a UID such as 1.2.840.7 the last number is not an ending.
        patient_id=row.get("patient_id") or str(name.with_suffix("") if ending else name),
        split="test" if row.get("split") == "test" else "train",
        read=partial(read_file, root / name),
    )
