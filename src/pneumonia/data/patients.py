"""Who is on a film, by a rule of the user's own instead of the source's."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pneumonia.data.rows import read_rows
from pneumonia.errors import InputError
from pneumonia.params import DataParams

if TYPE_CHECKING:
    from pneumonia.data.sources import SourceFilm


def override_patients(films: list[SourceFilm], params: DataParams) -> list[SourceFilm]:
    """Give films the patients that `data.patient_pattern` or `data.patient_csv` say, if either.

    Raises:
        InputError: both are given; a film to which neither gives a patient, one line each; a
            CSV file that is outside `data.path`, or broken.
    """
    if params.patient_pattern and params.patient_csv:
        raise InputError("data.patient_pattern and data.patient_csv: give one of them, not both")
    if params.patient_pattern:
        found = _by_pattern(films, params.patient_pattern)
        reason = f"the file name does not match data.patient_pattern {params.patient_pattern!r}"
    elif params.patient_csv:
        found = _by_csv(Path(params.patient_csv), Path(params.path))
        reason = f"not in data.patient_csv {params.patient_csv}"
    else:
        return films
    problems = [f"{film.file}: {reason}" for film in films if not found.get(film.file)]
    if problems:
        total = f"{len(problems)} of {len(films)} films have no patient"
        raise InputError("\n".join([*problems, total]))
    return [replace(film, patient_id=found[film.file]) for film in films]


def _by_pattern(films: list[SourceFilm], pattern: str) -> dict[str, str]:
    matches = {film.file: re.search(pattern, PurePosixPath(film.file).name) for film in films}
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
