"""Whether the files of a training are as it wrote them.

A disk or a copy that changes a byte of the weights changes answers without a word. `training.json`
has the SHA-256 of what was written beside it, and whoever loads one of those files compares.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pneumonia.errors import InputError

RECORD = "training.json"
MEND = "`make mend` puts damaged outputs aside, then `dvc repro` makes them anew"


def sha256(path: Path) -> str:
    """Of a file's content, hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def hashes(files: Iterable[Path]) -> dict[str, str]:
    """SHA-256 by name, for the record of a training."""
    return {file.name: sha256(file) for file in files}


def record(folder: Path) -> dict[str, Any]:
    """What a training in `folder` wrote of itself.

    Raises:
        InputError: nothing there, or nothing that can be read.
    """
    file = folder / RECORD
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{file}: no such file; `dvc repro` trains anew") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "damaged"
        raise InputError(f"{file}: {reason}; {MEND}") from None
    if not isinstance(found, dict):
        raise InputError(f"{file}: damaged; {MEND}")
    return found


def read(path: Path, expected: str = "", mend: str = MEND) -> bytes:
    """A file's content, if it is what was written.

    Args:
        path: of the file.
        expected: its SHA-256; "": the one in the record beside it. Where there is no record, as of
            a training by an earlier version, nothing is compared.
        mend: what the message says to do.

    Raises:
        FileNotFoundError: no such file.
        InputError: it has changed.
    """
    content = path.read_bytes()
    if not expected and (path.parent / RECORD).exists():
        expected = record(path.parent).get("sha256", {}).get(path.name, "")
    if expected and hashlib.sha256(content).hexdigest() != expected:
        raise InputError(f"{path}: damaged, its SHA-256 is not the recorded one; {mend}")
    return content
