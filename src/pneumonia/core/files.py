"""Output folders that are either complete or absent, and checksums of a training's files.

If a disk or a copy changed a byte of the weights, nobody would notice that predictions change. So
`training.json` has the SHA-256 of each file beside it. Reading a file compares the two.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pneumonia.core.errors import InputError, writing

RECORD = "training.json"
REPAIR = "`make repair` moves damaged outputs away, then `dvc repro` makes them again"


def sha256(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def hashes(files: Iterable[Path]) -> dict[str, str]:
    """The SHA-256 of each file, by file name, for `training.json`."""
    return {file.name: sha256(file) for file in files}


def read_record(folder: Path) -> dict[str, Any]:
    """Read `training.json` of a training's folder.

    Raises:
        InputError: the file is missing, unreadable or damaged.
    """
    path = folder / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; `dvc repro` trains the model again") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "damaged"
        raise InputError(f"{path}: {reason}; {REPAIR}") from None
    if not isinstance(record, dict):
        raise InputError(f"{path}: damaged; {REPAIR}")
    return record


def read_checked(path: Path, expected: str = "", remedy: str = REPAIR) -> bytes:
    """Read a file and compare its SHA-256 with the expected one.

    Args:
        expected: the SHA-256. If it is empty, the SHA-256 comes from the `training.json` beside
            the file. Without a `training.json` there is no check.
        remedy: what the error message tells the user to do.

    Raises:
        FileNotFoundError: the file is missing.
        InputError: the file has changed, or `training.json` has no SHA-256 of it.
    """
    content = path.read_bytes()
    if not expected:
        if not (path.parent / RECORD).exists():
            return content
        expected = read_record(path.parent).get("sha256", {}).get(path.name, "")
    if hashlib.sha256(content).hexdigest() != expected:
        raise InputError(f"{path}: damaged, its SHA-256 is not the recorded one; {remedy}")
    return content


@contextmanager
def replaced(folder: Path) -> Iterator[Path]:
    """Yield an empty new folder; it replaces `folder` when the block ends without an error.

    Until then `folder` keeps its previous content. So a stage that fails loses nothing. The outputs
    are `persist: true` in `dvc.yaml` for the same reason.

    Raises:
        InputError: the disk beside `folder` is full or not writable.
    """
    new = folder.with_name(folder.name + ".writing")
    former = folder.with_name(folder.name + ".former.writing")
    with writing(folder):
        shutil.rmtree(new, ignore_errors=True)
        try:
            new.mkdir(parents=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise InputError(f"{new}: {error.strerror}") from None
        try:
            yield new
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
        shutil.rmtree(former, ignore_errors=True)
        if folder.exists():
            folder.rename(former)
        new.rename(folder)
        shutil.rmtree(former, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON; equal values give equal bytes."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
