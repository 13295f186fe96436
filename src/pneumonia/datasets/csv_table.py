"""Read CSV files and check them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from pneumonia.core.errors import InputError, refuse


def read_rows(
    path: Path, required: Sequence[str], optional: Sequence[str] = (), *, empty: bool = False
) -> list[tuple[int, dict[str, str]]]:
    """Read a CSV file with a header; return (line number, {column: text without outer spaces}).

    Other columns are left out. If an optional column is missing, the rows do not have it.

    Raises:
        InputError: the file is missing or not CSV in UTF-8; a column is missing or occurs twice; a
            row is longer or shorter than the header; or there is no row and `empty` is false.
    """
    rows = []
    problems = []
    try:
        # Spreadsheets write a byte order mark; utf-8-sig skips it.
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, [])]
            if missing := [name for name in required if name not in header]:
                raise InputError(f"{path}: no column {', '.join(missing)}")
            if twice := [name for name in (*required, *optional) if header.count(name) > 1]:
                raise InputError(f"{path}: more than one column {', '.join(twice)}")
            wanted = [name for name in header if name in (*required, *optional)]
            for cells in reader:
                if len(cells) == len(header):
                    row = dict(zip(header, map(str.strip, cells), strict=True))
                    rows.append((reader.line_num, {name: row[name] for name in wanted}))
                elif cells:
                    counts = f"{len(cells)} cells, not {len(header)}"
                    problems.append(f"{path}:{reader.line_num}: {counts}")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a CSV file in UTF-8: {error}") from None
    if not (rows or problems or empty):
        problems = [f"{path}: no row"]
    refuse(problems)
    return rows
