"""Patient ids from the user's own rule, instead of the ids from the source."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path, PurePosixPath

from pneumonia.core.config import DataParams
from pneumonia.core.errors import InputError, refuse
from pneumonia.datasets.csv_table import read_rows
from pneumonia.datasets.manifest import SourceImage


def override_patients(images: list[SourceImage], params: DataParams) -> list[SourceImage]:
    """Set the patient ids by `data.patient_pattern` or `data.patient_csv`, if one is given.

    Raises:
        InputError: both are given; images have no patient (one line for each image); or the CSV
            file is damaged or outside `data.path`.
    """
    if params.patient_pattern and params.patient_csv:
        raise InputError("data.patient_pattern and data.patient_csv: give one of them, not both")
    if params.patient_pattern:
        patients = {
            image.file: match["patient"]
            for image in images
            if (match := re.search(params.patient_pattern, PurePosixPath(image.file).name))
        }
        reason = f"the file name does not match data.patient_pattern {params.patient_pattern!r}"
    elif params.patient_csv:
        patients = _by_csv(Path(params.patient_csv), Path(params.path))
        reason = f"not in data.patient_csv {params.patient_csv}"
    else:
        return images
    problems = [f"{image.file}: {reason}" for image in images if not patients.get(image.file)]
    if problems:
        refuse([*problems, f"{len(problems)} of {len(images)} images have no patient"])
    return [replace(image, patient_id=patients[image.file]) for image in images]


def _by_csv(path: Path, root: Path) -> dict[str, str]:
    # DVC watches data.path. If a table elsewhere changed, `prepare` would not run again.
    if not path.resolve().is_relative_to(root.resolve()):
        raise InputError(f"data.patient_csv: {path}: must lie in data.path, {root}")
    patients: dict[str, str] = {}
    problems: list[str] = []
    for line, row in read_rows(path, ("file", "patient_id")):
        file = PurePosixPath(row["file"]).as_posix()
        if not row["patient_id"]:
            problems.append(f"{path}:{line}: {file}: patient_id is empty")
        elif patients.setdefault(file, row["patient_id"]) != row["patient_id"]:
            problems.append(f"{path}:{line}: {file}: another row has another patient_id")
    refuse(problems)
    return patients
