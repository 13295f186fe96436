"""Write the scores as a Parquet data set: part files, and a record of the images and the model.

The number of a part determines its images, and a part is written atomically. So an existing part is
always finished. If two workers write the same part, both write the same file. Parquet readers
ignore file names that begin with "." or "_".
"""

from __future__ import annotations

import io
import json
import os
import re
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pneumonia.core.errors import InputError
from pneumonia.scoring.images import filesystem, is_url

if TYPE_CHECKING:
    import pyarrow as pa


RECORD = "_score.json"
WRITING = ".writing"
_PART = re.compile(r"part-(\d{6,})\.parquet")


@dataclass(frozen=True)
class Record:
    """The images, model and options that are the same for all parts of a data set."""

    #: number of images, and hash of their names in order.
    images: int
    names_sha256: str
    rows: int  #: number of images in a part
    #: name and version of the registered model.
    model: str
    version: str
    model_sha256: str  #: hash of graph, operating point and statistics for the warnings
    maps: bool  #: whether the rows contain class activation maps


def part_name(number: int) -> str:
    """Return the file name of a part; the first part has the number 0."""
    return f"part-{number:06d}.parquet"


def open_output(where: str, record: Record) -> set[int]:
    """Begin or continue a data set in a folder or at a URL; return the finished parts' numbers.

    Raises:
        InputError: the folder contains other data, or it is not possible to write to it.
    """
    try:
        files = set(_names(where))
        if RECORD not in files:
            if files:
                raise InputError(
                    f"--output {where}: holds other files than scores: name an empty folder"
                )
            _write(where, RECORD, json.dumps(asdict(record), indent=2).encode() + b"\n")
            return set()
        existing = json.loads(_read(where, RECORD))
    except InputError:
        raise
    except Exception as error:
        # Storage libraries raise their own exceptions.
        raise InputError(f"--output {where}: {getattr(error, 'strerror', '') or error}") from None
    _require_same(where, existing, record)
    return {int(match[1]) for name in files if (match := _PART.fullmatch(name))}


def write_part(where: str, number: int, table: pa.Table) -> None:
    """Write a part atomically.

    Raises:
        OSError: the part cannot be written; storage libraries may raise other exceptions.
    """
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    _write(where, part_name(number), buffer.getvalue())


def remove_leftovers(where: str) -> None:
    """Remove the temporary files of killed workers; no worker may be running."""
    if not is_url(where):
        for file in Path(where).glob(f".*{WRITING}"):
            file.unlink(missing_ok=True)


def _require_same(where: str, existing: object, record: Record) -> None:
    former = existing if isinstance(existing, dict) else {}
    differs = {name for name, value in asdict(record).items() if former.get(name) != value}
    if not differs:
        return
    if {"model", "version", "model_sha256"} & differs:
        what = f"of another model, {former.get('model')} {former.get('version')}".rstrip()
    elif {"images", "names_sha256"} & differs:
        what = f"of another list of images, {former.get('images')} of them"
    elif "rows" in differs:
        what = f"in parts of {former.get('rows')} images"
    else:
        what = f"{'with' if former.get('maps') else 'without'} maps"
    raise InputError(f"--output {where}: has scores {what}: name another folder, or remove it")


def _names(where: str) -> list[str]:
    if not is_url(where):
        folder = Path(where)
        return [file.name for file in folder.iterdir()] if folder.exists() else []
    system, path = filesystem(where)
    if not system.exists(path):
        return []
    return [str(file).rpartition("/")[2] for file in system.ls(path, detail=False)]


def _read(where: str, name: str) -> bytes:
    if not is_url(where):
        return Path(where, name).read_bytes()
    system, path = filesystem(f"{where}/{name}")
    return bytes(system.cat_file(path))


def _write(where: str, name: str, payload: bytes) -> None:
    if is_url(where):
        # Object stores write files atomically.
        system, path = filesystem(f"{where}/{name}")
        system.pipe_file(path, payload)
        return
    Path(where).mkdir(parents=True, exist_ok=True)
    writing = Path(where, f".{name}.{uuid.uuid4().hex}{WRITING}")
    with writing.open("wb") as file:
        file.write(payload)
        file.flush()
        os.fsync(file.fileno())
    writing.rename(Path(where, name))
