"""The table of `make bench`: kept figures to Markdown, and what machine they are of."""

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

from benchmarks.rows import Row, spread
from benchmarks.scoring import processor

LIBRARIES = (
    "tensorflow", "keras", "onnxruntime", "mlflow", "dvc", "scikit-learn", "pillow", "numpy",
)  # fmt: skip
HEAD = """# Side by side with what one would use instead

Written by `make bench`; `python -m benchmarks --only AREA` measures one area anew.

All ways of a line took turns in one run. Figures are medians over the turns, in brackets their
range. *Times better* compares turn by turn: above 1 ours is faster, or smaller. *Of the limit* is
how much ours reaches of what the machine could do at best; empty where that is not known.
"""
COLUMNS = ("what", "ours", "instead", "", "times better", "limit", "", "of the limit")


@dataclass(frozen=True)
class Measured:
    """An area's rows and where they come from.

    Attributes:
        rows: of the table.
        revision: of the code, with "+" where files had been changed.
        machine: processor, cores, memory, system.
        versions: of Python and the libraries.
        load: of the machine in the minute before, processes.
        minutes: that it took.
    """

    rows: list[Row]
    revision: str
    machine: str
    versions: str
    load: float
    minutes: float


def keep(measured: Measured, file: Path) -> None:
    """Write an area's figures; a run that is stopped leaves the former ones."""
    file.parent.mkdir(parents=True, exist_ok=True)
    writing = file.with_suffix(".writing")
    writing.write_text(json.dumps(asdict(measured), indent=1) + "\n", encoding="utf-8")
    writing.replace(file)


def kept(file: Path) -> Measured | None:
    """Read what `keep` wrote; None where nothing was kept, or by another version of this module."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return Measured(**found | {"rows": [Row(**row) for row in found["rows"]]})
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        print(f"bench: {file}: left out: {error}", file=sys.stderr)
        return None


def text(areas: Mapping[str, tuple[str, Measured | None]]) -> str:
    """The document.

    Args:
        areas: by name, in order: what it is and how it is measured, the first line of which is its
            title; its figures, None where it was not measured.
    """
    measured = [one for _, one in areas.values() if one]
    lines = [HEAD]
    if measured:
        same = len({(one.machine, one.versions, one.revision) for one in measured}) == 1
        if same:
            lines.append(f"{_origin(measured[0])}\n")
    for name, (told, one) in areas.items():
        title, _, about = told.strip().partition("\n")
        lines.append(f"## {title.rstrip('.')}\n")
        if about.strip():
            lines.append(f"{about.strip()}\n")
        if one is None:
            lines.append(f"Not measured: `python -m benchmarks --only {name}`.\n")
            continue
        if not same:
            lines.append(f"{_origin(one)}\n")
        lines += [*_table(one.rows), ""]
        lines.append(f"{_turns(one.rows)}{one.minutes:.1f} minutes, load before {one.load:.1f}\n")
    return "\n".join(lines)


def _origin(one: Measured) -> str:
    return f"Machine: {one.machine}. {one.versions}. Revision {one.revision}."


def _turns(rows: list[Row]) -> str:
    """How often ways were measured, which may differ between rows."""
    counts = sorted({len(row.ours) for row in rows if row.ours})
    return f"{' and '.join(map(str, counts))} turn{'s' * (counts[-1] > 1)}, " if counts else ""


def _table(rows: list[Row]) -> list[str]:
    """Rows in Markdown; columns that no row fills are left out."""
    cells = [_cells(row) for row in rows]
    used = [any(row[column] for row in cells) for column in range(len(COLUMNS))]
    lines = [
        "| " + " | ".join(cell for cell, use in zip(row, used, strict=True) if use) + " |"
        for row in [COLUMNS, *cells]
    ]
    return [lines[0], "|" + " --- |" * sum(used), *lines[1:]]


def _cells(row: Row) -> tuple[str, ...]:
    if not row.ours:
        return row.what, f"not measured: {row.note}", *[""] * 6
    better, share = row.times_better(), row.of_the_limit()
    return (
        row.what + (f" ({row.note})" if row.note else ""),
        spread(row.ours, f" {row.unit}"),
        row.rival,
        spread(row.theirs, f" {row.unit}") if row.theirs else "",
        spread(better) if better else "",
        row.limit,
        spread(row.bound, f" {row.unit}") if row.bound else "",
        spread([100 * one for one in share], " %") if share else "",
    )


def machine() -> str:
    """Processor, cores, memory and system."""
    cores, memory = len(os.sched_getaffinity(0)), psutil.virtual_memory().total / 2**30
    system = f"{platform.system()} {platform.machine()}"
    return f"{processor()}, {cores} cores, {memory:.0f} GiB, {system}"


def versions() -> str:
    """Of Python and of the libraries that the figures hang on."""
    told = ", ".join(f"{library} {version(library)}" for library in LIBRARIES)
    return f"Python {platform.python_version()}, {told}"


def revision(root: Path) -> str:
    """Of the code, with "+" where files other than the table are changed; unknown outside git."""
    import git

    try:
        repository = git.Repo(root)
        changed = repository.git.status("--porcelain", ":!benchmarks/RESULTS.md", ":!dvc.lock")
        return str(repository.git.rev_parse("--short", "HEAD")) + ("+" if changed else "")
    except git.GitError as error:
        print(f"bench: no revision: {error}", file=sys.stderr)
        return "unknown"
