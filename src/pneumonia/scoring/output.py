"""The Parquet data set that scoring writes: whole part files, and a record of what they are of.

Parts are numbered by their images, and each appears whole or not at all. So one that is written
twice, by a worker that was taken for dead, is the same file, and a part that is there is finished.
Readers of Parquet pass over names that begin with "." or "_".
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
    """What a data set is of; all of its parts are of the same.

    Attributes:
        images, names_sha256: how many, and of their names in order.
        rows: images a part.
        model, version: as registered.
        model_sha256: of graph, operating point and statistics for the warnings.
        maps: whether the rows have them.
    """

    images: int
    names_sha256: str
    rows: int
    model: str
    version: str
    model_sha256: str
    maps: bool


def part_name(number: int) -> str:
    """File name of a part, from 0."""
    return f"part-{number:06d}.parquet"


def open_output(where: str, record: Record) -> set[int]:
    """Begin a data set in a folder or at a URL, or go on with it: the parts that are finished.

    Raises:
        InputError: what is there is something else, or nothing can be written there.
    """
    try:
        there = set(_names(where))
        if RECORD not in there:
            if there:
                raise InputError(
                    f"--output {where}: holds other files than scores: name an empty folder"
                )
            _write(where, RECORD, json.dumps(asdict(record), indent=2).encode() + b"\n")
            return set()
        former = json.loads(_read(where, RECORD))
    except InputError:
        raise
    except Exception as error:
        # Each kind of storage has its own exceptions.
        raise InputError(f"--output {where}: {getattr(error, 'strerror', '') or error}") from None
    _require_same(where, former, record)
    return {int(found[1]) for name in there if (found := _PART.fullmatch(name))}


def write_part(where: str, number: int, table: pa.Table) -> None:
    """Write a part, whole or not at all.

    Raises:
        OSError: it cannot be written; other exceptions where a storage's library has its own.
    """
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    _write(where, part_name(number), buffer.getvalue())


def remove_leftovers(where: str) -> None:
    """Remove what killed workers had begun to write; nobody may be writing."""
    if not is_url(where):
        for file in Path(where).glob(f".*{WRITING}"):
            file.unlink(missing_ok=True)


def _require_same(where: str, former: object, record: Record) -> None:
    wanted = asdict(record)
    known = former if isinstance(former, dict) else {}
    differs = [name for name, value in wanted.items() if known.get(name) != value]
    if not differs:
        return
    if {"model", "version", "model_sha256"} & set(differs):
        what = f"of another model, {known.get('model')} {known.get('version')}".rstrip()
    elif {"images", "names_sha256"} & set(differs):
        what = f"of another list of images, {known.get('images')} of them"
    elif "rows" in differs:
        what = f"in parts of {known.get('rows')} images"
    else:
        what = f"{'with' if known.get('maps') else 'without'} maps"
    raise InputError(f"--output {where}: has scores {what}: name another folder, or remove it")


def _names(where: str) -> list[str]:
    if not is_url(where):
        path = Path(where)
        return [one.name for one in path.iterdir()] if path.exists() else []
    found, path_there = filesystem(where)
    if not found.exists(path_there):
        return []
    return [str(one).rpartition("/")[2] for one in found.ls(path_there, detail=False)]


def _read(where: str, name: str) -> bytes:
    if not is_url(where):
        return Path(where, name).read_bytes()
    found, path = filesystem(f"{where}/{name}")
    return bytes(found.cat_file(path))


def _write(where: str, name: str, payload: bytes) -> None:
    if is_url(where):
        # An object appears whole or not at all.
        found, path = filesystem(f"{where}/{name}")
        found.pipe_file(path, payload)
        return
    Path(where).mkdir(parents=True, exist_ok=True)
    writing = Path(where, f".{name}.{uuid.uuid4().hex}{WRITING}")
    with writing.open("wb") as file:
        file.write(payload)
        file.flush()
        os.fsync(file.fileno())
    writing.rename(Path(where, name))
