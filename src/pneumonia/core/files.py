"""Whether the files of a training are as it wrote them.

A disk or a copy that changes a byte of the weights changes answers without a word. `training.json`
has the SHA-256 of what was written beside it, and whoever loads one of those files compares.
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
REPAIR = "`make repair` puts damaged outputs aside, then `dvc repro` makes them anew"


def sha256(path: Path) -> str:
    """Of a file's content, hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def hashes(files: Iterable[Path]) -> dict[str, str]:
    """SHA-256 by name, for the record of a training."""
    return {file.name: sha256(file) for file in files}


def read_record(folder: Path) -> dict[str, Any]:
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
        raise InputError(f"{file}: {reason}; {REPAIR}") from None
    if not isinstance(found, dict):
        raise InputError(f"{file}: damaged; {REPAIR}")
    return found


def read_checked(path: Path, expected: str = "", mend: str = REPAIR) -> bytes:
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
        expected = read_record(path.parent).get("sha256", {}).get(path.name, "")
    if expected and hashlib.sha256(content).hexdigest() != expected:
        raise InputError(f"{path}: damaged, its SHA-256 is not the recorded one; {mend}")
    return content


@contextmanager
def replaced(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `folder` when the block ends without error.

    Until then the former content of `folder` is untouched, so a stage that fails loses nothing
    (its outputs are `persist: true` in `dvc.yaml` for the same reason).

    Raises:
        InputError: nothing can be written beside `folder`, or no more.
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
    """Write JSON that is the same for the same value."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
