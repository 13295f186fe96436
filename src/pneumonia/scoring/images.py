"""The images that are to be scored: where their names come from, and their bytes."""

from __future__ import annotations

import csv
import glob
import hashlib
import io
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pneumonia.core.errors import InputError
from pneumonia.images.decoding import SUFFIXES
from pneumonia.images.limits import MAX_BYTES

if TYPE_CHECKING:
    import pyarrow as pa
    from fsspec import AbstractFileSystem


IMAGE_SUFFIXES = (*SUFFIXES, ".dcm", ".dicom")
LIST_SUFFIXES = (".csv", ".parquet")
COLUMN = "file"


@dataclass(frozen=True)
class ImageList:
    """ImageList by name.

    Attributes:
        root: the folder or URL that the names begin at, absolute, so that it means the same to
            every process.
        names: one an image, in the order of the rows; those of a folder sorted. Arrow holds millions
            of them in little more than their letters.
    """

    root: str
    names: pa.LargeStringArray

    def sha256(self) -> str:
        """Of the names and their order; neither of the root nor of what the files hold."""
        hashed = hashlib.sha256()
        for name in self.names:
            hashed.update(name.as_py().encode() + b"\0")
        return hashed.hexdigest()


def list_images(given: str) -> ImageList:
    """Find what is meant by a folder, a pattern, a table of names, or an image; local or a URL.

    - a folder: all JPEG, PNG and DICOM files in and below it, by their suffix, hidden ones apart;
    - a pattern with `*`, `?`, `[...]` or `**`: every file that it matches;
    - `.csv` or `.parquet`: the column `file`, names that begin where the table lies;
    - any other file: that image.

    Raises:
        InputError: there is no such thing, no image in it, or the table has no such column.
    """
    import pyarrow as pa

    root, names = _remote(given) if is_url(given) else _local(given)
    if not isinstance(names, pa.Array):
        names = pa.array(sorted(names), pa.large_string())
    if not len(names):
        raise InputError(f"{given}: no images in it; they are files {', '.join(IMAGE_SUFFIXES)}")
    return ImageList(root, names)


def is_url(name: str) -> bool:
    """Whether a name is for fsspec, like s3://bucket/folder."""
    return "://" in name


def filesystem(url: str) -> tuple[AbstractFileSystem, str]:
    """Of a URL, and its path there.

    Raises:
        InputError: no such kind of storage, or its library is not installed.
    """
    from fsspec.core import url_to_fs

    try:
        found, path = url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise InputError(f"{url}: {error}") from None
    return found, path


def read_bytes(root: str, name: str) -> bytes:
    """The bytes of an image; of one too long, what shows that it is.

    Raises:
        OSError: it cannot be read; other exceptions where a storage's library has its own.
    """
    if is_url(name) or (is_url(root) and not name.startswith("/")):
        found, path = filesystem(name if is_url(name) else f"{root.rstrip('/')}/{name}")
        return bytes(found.cat_file(path, end=MAX_BYTES + 1))
    with open(os.path.join(root, name), "rb") as file:  # noqa: PTH118, PTH123 - for every image
        # Room for the longest would be asked for and given back with every image.
        size = os.fstat(file.fileno()).st_size
        return file.read(min(size, MAX_BYTES) + 1)


def _local(given: str) -> tuple[str, Iterable[str] | pa.Array]:
    path = Path(given)
    if path.is_dir():
        found = (
            str(Path(folder, name).relative_to(path))
            for folder, below, names in os.walk(path, followlinks=True)
            for name in _images_among(names, below)
        )
        return str(path.absolute()), found
    if path.suffix.lower() in LIST_SUFFIXES and path.is_file():
        return str(path.parent.absolute()), _listed(given, path.read_bytes())
    if path.is_file():
        return str(path.parent.absolute()), [path.name]
    if glob.has_magic(given):
        matches = glob.iglob(given, recursive=True)  # noqa: PTH207 - `given` may be absolute
        return str(Path.cwd()), (match for match in matches if Path(match).is_file())
    raise InputError(f"{given}: no such folder or file")


def _images_among(names: list[str], below: list[str]) -> list[str]:
    """The images in a folder; hidden folders below it are not gone into."""
    below[:] = [name for name in below if not name.startswith(".")]
    return [name for name in names if _is_image(name)]


def _is_image(name: str) -> bool:
    """Whether a name below the folder is an image's, and nothing in it is hidden."""
    return name.lower().endswith(IMAGE_SUFFIXES) and not f"/{name}".count("/.")


def _remote(given: str) -> tuple[str, Iterable[str] | pa.Array]:
    found, path = filesystem(given)
    parent = given.rpartition("/")[0]
    try:
        if given.lower().endswith(LIST_SUFFIXES):
            return parent, _listed(given, bytes(found.cat_file(path)))
        if glob.has_magic(given):
            return "", [found.unstrip_protocol(match) for match in found.glob(path)]
        if found.isfile(path):
            return parent, [given.rpartition("/")[2]]
        files = found.find(path)
    except Exception as error:
        # Each kind of storage has its own exceptions.
        raise InputError(f"{given}: {_reason(error)}") from None
    start = path.rstrip("/") + "/"
    names = (file.removeprefix(start) for file in files)
    return given.rstrip("/"), [name for name in names if _is_image(name)]


def _listed(given: str, table: bytes) -> pa.Array:
    """The column `file` of a table, as large strings."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if given.lower().endswith(".parquet"):
            column = pq.read_table(io.BytesIO(table), columns=[COLUMN])[COLUMN]
            names = column.cast(pa.large_string()).combine_chunks()
        else:
            rows = csv.DictReader(io.StringIO(table.decode("utf-8-sig"), newline=""))
            if COLUMN not in (rows.fieldnames or ()):
                raise KeyError(COLUMN)
            names = pa.array((row[COLUMN] for row in rows), pa.large_string())
    except (KeyError, pa.ArrowException) as error:
        known = isinstance(error, KeyError) or "No match for FieldRef" in str(error)
        reason = f"no column `{COLUMN}`" if known else _reason(error)
        raise InputError(f"{given}: {reason}; it should name the images") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{given}: not CSV in UTF-8: {_reason(error)}") from None
    empty = [row for row, name in enumerate(names, 1) if not name.as_py()]
    if empty:
        raise InputError(f"{given}: row {empty[0]} has no name in the column `{COLUMN}`")
    return names


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
