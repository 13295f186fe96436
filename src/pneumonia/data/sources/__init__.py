"""Sources of images.

A source is a module here with `open_source(params) -> list[SourceImage]`, and its name in
`pneumonia.params.DataParams.source`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pneumonia.data.bounds import MAX_BYTES
from pneumonia.errors import InputError
from pneumonia.params import DataParams


@dataclass(frozen=True)
class SourceImage:
    """An image before it is read.

    Attributes:
        file: its name within the source, unique.
        label: 0 normal, 1 pneumonia.
        subtype: normal, bacteria, virus or unknown.
        patient_id: who is on it.
        split: "train" or "test", as the source has it; validation is drawn from train. A source
            without a split of its own says "train".
        read: gives the file's bytes and, where the truth is known, the mask of the opacity
            (bool, (H, W)). Called in another process, so it must pickle.
    """

    file: str
    label: int
    subtype: str
    patient_id: str
    split: str
    read: Callable[[], tuple[bytes, NDArray[np.bool_] | None]]


def read_file(path: Path) -> tuple[bytes, None]:
    """The `read` of an image that is a file; of one too long, what shows that it is."""
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1), None


def open_source(params: DataParams) -> list[SourceImage]:
    """List the images of the source that `data.source` names, sorted by file.

    `data.patient_pattern` or `data.patient_csv` say who is on them, where given.

    Raises:
        InputError: the source is not there, has no images of a class, or an image has no patient.
    """
    from pneumonia.data.patients import override_patients

    # Imported by name: what one source needs is no burden to another.
    source = import_module(f"pneumonia.data.sources.{params.source}")
    images: list[SourceImage] = source.open_source(params)
    # Such a name could neither be written into the manifest nor be printed.
    unnamed = [f"{image.file!a}: {why}" for image in images if (why := _unwritable(image.file))]
    if unnamed:
        raise InputError("\n".join(sorted(unnamed)))
    return override_patients(sorted(images, key=lambda image: image.file), params)


def _unwritable(name: str) -> str:
    if name.encode(errors="replace").decode() != name:
        if sys.getfilesystemencoding() != "utf-8":
            return "this locale cannot read the name; set PYTHONUTF8=1"
        return "the name is not UTF-8"
    return "" if len(name.splitlines()) == 1 else "a line break in the name"
