"""Who is on an image, by a rule of the user's own instead of the source's."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pneumonia.core.config import DataParams
from pneumonia.core.errors import InputError
from pneumonia.datasets.csv_table import read_rows

if TYPE_CHECKING:
    from pneumonia.datasets.manifest import SourceImage


def override_patients(images: list[SourceImage], params: DataParams) -> list[SourceImage]:
    """Give images the patients that `data.patient_pattern` or `data.patient_csv` say, if either.

    Raises:
        InputError: both are given; an image to which neither gives a patient, one line each; a
            CSV file that is outside `data.path`, or broken.
    """
    if params.patient_pattern and params.patient_csv:
        raise InputError("data.patient_pattern and data.patient_csv: give one of them, not both")
    if params.patient_pattern:
        found = _by_pattern(images, params.patient_pattern)
        reason = f"the file name does not match data.patient_pattern {params.patient_pattern!r}"
    elif params.patient_csv:
        found = _by_csv(Path(params.patient_csv), Path(params.path))
        reason = f"not in data.patient_csv {params.patient_csv}"
    else:
        return images
    problems = [f"{image.file}: {reason}" for image in images if not found.get(image.file)]
    if problems:
        total = f"{len(problems)} of {len(images)} images have no patient"
        raise InputError("\n".join([*problems, total]))
    return [replace(image, patient_id=found[image.file]) for image in images]


def _by_pattern(images: list[SourceImage], pattern: str) -> dict[str, str]:
    matches = {image.file: re.search(pattern, PurePosixPath(image.file).name) for image in images}
    return {file: match["patient"] or "" for file, match in matches.items() if match}


def _by_csv(path: Path, root: Path) -> dict[str, str]:
    # DVC watches data.path; a table elsewhere could change without `prepare` running again.
    if not path.resolve().is_relative_to(root.resolve()):
        raise InputError(f"data.patient_csv: {path}: must lie in data.path, {root}")
    found: dict[str, str] = {}
    problems: list[str] = []
    for line, row in read_rows(path, ("file", "patient_id")):
        file = PurePosixPath(row["file"]).as_posix()
        if not row["patient_id"]:
            problems.append(f"{path}:{line}: {file}: patient_id is empty")
        elif found.setdefault(file, row["patient_id"]) != row["patient_id"]:
            problems.append(f"{path}:{line}: {file}: has another patient_id above")
    if problems:
        raise InputError("\n".join(problems))
    return found
