"""The images to score: list their names, and read them."""

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
    """A list of image names, and the folder or URL that contains the images."""

    #: absolute path of the folder, or its URL; the names are relative to it. Absolute, so that all
    #: processes find the same folder.
    root: str
    #: one name per image, in the order of the rows; names from a folder are sorted. Arrow needs
    #: little more memory than the characters, even for millions of names.
    names: pa.LargeStringArray

    def sha256(self) -> str:
        """Hash the names in their order; the root and the files' content are not in the hash."""
        hashed = hashlib.sha256()
        for name in self.names:
            hashed.update(name.as_py().encode() + b"\0")
        return hashed.hexdigest()


def list_images(given: str) -> ImageList:
    """List the images of a folder, pattern, table or file; `given` is a local path or a URL.

    - a folder: all JPEG, PNG and DICOM files (by suffix) in it and its subfolders, except hidden;
    - a pattern with `*`, `?`, `[...]` or `**`: every file that matches;
    - `.csv` or `.parquet`: names in the column `file`, relative to the folder of the table;
    - any other file: this one image.

    Raises:
        InputError: `given` does not exist or has no image, or the table has no column `file`.
    """
    import pyarrow as pa

    root, names = _remote(given) if is_url(given) else _local(given)
    if not isinstance(names, pa.Array):
        names = pa.array(sorted(names), pa.large_string())
    if not len(names):
        raise InputError(f"{given}: no images in it; they are files {', '.join(IMAGE_SUFFIXES)}")
    return ImageList(root, names)


def is_url(name: str) -> bool:
    """Whether a name is a URL for fsspec, for example s3://bucket/folder."""
    return "://" in name


def filesystem(url: str) -> tuple[AbstractFileSystem, str]:
    """Return the file system of a URL, and the path in this file system.

    Raises:
        InputError: the kind of storage is unknown, or its library is not installed.
    """
    from fsspec.core import url_to_fs

    try:
        system, path = url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise InputError(f"{url}: {error}") from None
    return system, path


def read_bytes(root: str, name: str) -> bytes:
    """Read an image file; if the file is larger than the limit, read only one byte over the limit.

    Raises:
        OSError: the file cannot be read; storage libraries may raise other exceptions.
    """
    if is_url(name) or (is_url(root) and not name.startswith("/")):
        system, path = filesystem(name if is_url(name) else f"{root.rstrip('/')}/{name}")
        return bytes(system.cat_file(path, end=MAX_BYTES + 1))
    with open(os.path.join(root, name), "rb") as file:  # noqa: PTH118, PTH123 - for every image
        # A read with the limit as size would allocate so much memory for every image.
        size = os.fstat(file.fileno()).st_size
        return file.read(min(size, MAX_BYTES) + 1)


def _local(given: str) -> tuple[str, Iterable[str] | pa.Array]:
    path = Path(given)
    if path.is_dir():
        names = []
        for folder, subfolders, files in os.walk(path, followlinks=True):
            subfolders[:] = [name for name in subfolders if not name.startswith(".")]
            images = (Path(folder, name) for name in files if _is_image(name))
            names += [str(image.relative_to(path)) for image in images]
        return str(path.absolute()), names
    if path.suffix.lower() in LIST_SUFFIXES and path.is_file():
        return str(path.parent.absolute()), _names_in_table(given, path.read_bytes())
    if path.is_file():
        return str(path.parent.absolute()), [path.name]
    if glob.has_magic(given):
        matches = glob.iglob(given, recursive=True)  # noqa: PTH207 - `given` may be absolute
        return str(Path.cwd()), (match for match in matches if Path(match).is_file())
    raise InputError(f"{given}: no such folder or file")


def _is_image(name: str) -> bool:
    """Whether a path has the suffix of an image, and no part of it is hidden."""
    return name.lower().endswith(IMAGE_SUFFIXES) and not f"/{name}".count("/.")


def _remote(given: str) -> tuple[str, Iterable[str] | pa.Array]:
    system, path = filesystem(given)
    parent = given.rpartition("/")[0]
    try:
        if given.lower().endswith(LIST_SUFFIXES):
            return parent, _names_in_table(given, bytes(system.cat_file(path)))
        if glob.has_magic(given):
            return "", [system.unstrip_protocol(match) for match in system.glob(path)]
        if system.isfile(path):
            return parent, [given.rpartition("/")[2]]
        files = system.find(path)
    except Exception as error:
        # Storage libraries raise their own exceptions.
        raise InputError(f"{given}: {_reason(error)}") from None
    start = path.rstrip("/") + "/"
    names = (file.removeprefix(start) for file in files)
    return given.rstrip("/"), [name for name in names if _is_image(name)]


def _names_in_table(given: str, table: bytes) -> pa.Array:
    """Return the column `file` of a table."""
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
