"""The tables of `make bench` in Markdown, from the stored measurements."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import psutil

from benchmarks.measurement import Row, spread
from benchmarks.scoring import processor

LIBRARIES = (
    "tensorflow", "keras", "onnxruntime", "mlflow", "dvc", "scikit-learn", "pillow", "numpy",
)  # fmt: skip
HEAD = """# Comparison with common alternatives

`make bench` writes this page; `python -m benchmarks --only AREA` measures one area again.

All values of a row come from one run, which measures the alternatives in turns. The values are
medians over the turns, with the range in brackets. *Times better* is computed for each turn: above
1, this project is faster or smaller. *Limit* is the best value that this machine could reach.
*Share of the limit* says how much of the limit this project reaches. Both are empty where no limit
is known.
"""
COLUMNS = (
    "task", "this project", "alternative", "", "times better", "limit", "", "share of the limit",
)  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """The measurements of an area and their origin.

    Attributes:
        rows: rows of the table.
        revision: Git revision of the code, with "+" if files were changed.
        machine: processor, cores, memory, system.
        versions: versions of Python and the libraries.
        load: mean number of running processes in the minute before.
        minutes: duration of the measurement.
    """

    rows: list[Row]
    revision: str
    machine: str
    versions: str
    load: float
    minutes: float


def store(measured: Measured, file: Path) -> None:
    """Write the measurements of an area; a run that is stopped leaves the previous file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    writing = file.with_suffix(".writing")
    writing.write_text(json.dumps(asdict(measured), indent=1) + "\n", encoding="utf-8")
    writing.replace(file)


def stored(file: Path) -> Measured | None:
    """Read what `store` wrote; None if there is no file or it has another format."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return Measured(**content | {"rows": [Row(**row) for row in content["rows"]]})
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        print(f"bench: {file}: not used: {error}", file=sys.stderr)
        return None


def text(areas: Mapping[str, tuple[str, Measured | None]]) -> str:
    """The page.

    Args:
        areas: by name, in order: the docstring of its module, whose first line is the title, and
        its
            measurements, None if it was not measured.
    """
    origins = {_origin(measured) for _, measured in areas.values() if measured}
    lines = [HEAD]
    if len(origins) == 1:
        lines += [f"{origin}\n" for origin in origins]
    for name, (docstring, measured) in areas.items():
        title, _, description = docstring.strip().partition("\n")
        lines.append(f"## {title.rstrip('.')}\n")
        if description.strip():
            lines.append(f"{description.strip()}\n")
        if measured is None:
            lines.append(f"Not measured: `python -m benchmarks --only {name}`.\n")
            continue
        if len(origins) > 1:
            lines.append(f"{_origin(measured)}\n")
        lines += [*_table(measured.rows), ""]
        duration = f"{measured.minutes:.1f} minutes, load before {measured.load:.1f}"
        lines.append(f"{_turns(measured.rows)}{duration}\n")
    return "\n".join(lines)


def _origin(measured: Measured) -> str:
    return f"Machine: {measured.machine}. {measured.versions}. Revision {measured.revision}."


def _turns(rows: list[Row]) -> str:
    """The number of turns, which may differ between rows."""
    counts = sorted({len(row.ours) for row in rows if row.ours})
    return f"{' and '.join(map(str, counts))} turn{'s' * (counts[-1] > 1)}, " if counts else ""


def _table(rows: list[Row]) -> list[str]:
    """Rows in Markdown, without columns that are empty in every row."""
    cells = [_cells(row) for row in rows]
    used = [any(row[column] for row in cells) for column in range(len(COLUMNS))]
    lines = [
        "| " + " | ".join(cell for cell, use in zip(row, used, strict=True) if use) + " |"
        for row in [COLUMNS, *cells]
    ]
    return [lines[0], "|" + " --- |" * sum(used), *lines[1:]]


def _cells(row: Row) -> tuple[str, ...]:
    if not row.ours:
        return row.task, f"not measured: {row.note}", *[""] * 6
    better, share = row.times_better(), row.of_the_limit()
    return (
        row.task + (f" ({row.note})" if row.note else ""),
        spread(row.ours, f" {row.unit}"),
        row.alternative,
        spread(row.theirs, f" {row.unit}") if row.theirs else "",
        spread(better) if better else "",
        row.limit,
        spread(row.bound, f" {row.unit}") if row.bound else "",
        spread([100 * value for value in share], " %") if share else "",
    )


def machine() -> str:
    """Processor, cores, memory and system."""
    cores, memory = len(os.sched_getaffinity(0)), psutil.virtual_memory().total / 2**30
    system = f"{platform.system()} {platform.machine()}"
    return f"{processor()}, {cores} cores, {memory:.0f} GiB, {system}"


def versions() -> str:
    """Versions of Python and of the libraries that matter for speed."""
    libraries = ", ".join(f"{library} {version(library)}" for library in LIBRARIES)
    return f"Python {platform.python_version()}, {libraries}"


def revision(root: Path) -> str:
    """Git revision of the code, with "+" if files other than the page are changed.

    "unknown" outside a Git repository.
    """
    import git

    try:
        repository = git.Repo(root)
        changed = repository.git.status("--porcelain", ":!benchmarks/RESULTS.md", ":!dvc.lock")
        return str(repository.git.rev_parse("--short", "HEAD")) + ("+" if changed else "")
    except git.GitError as error:
        print(f"bench: no revision: {error}", file=sys.stderr)
        return "unknown"
