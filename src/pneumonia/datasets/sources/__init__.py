"""Sources of images.

A source is a module here with `open_source(params) -> list[SourceImage]`, and its name in
`pneumonia.core.config.DataParams.source`.
"""

from __future__ import annotations

import sys
from importlib import import_module

from pneumonia.core.config import DataParams
from pneumonia.core.errors import refuse
from pneumonia.datasets.manifest import SourceImage
from pneumonia.datasets.patients import override_patients


def open_source(params: DataParams) -> list[SourceImage]:
    """List the images of the source `data.source`, sorted by file.

    `data.patient_pattern` or `data.patient_csv`, if given, set the patients.

    Raises:
        InputError: the source is missing, a class has no images, or an image has no patient.
    """
    # Imported by name, so that the libraries of one source are not needed for another.
    source = import_module(f"pneumonia.datasets.sources.{params.source}")
    images: list[SourceImage] = source.open_source(params)
    # Such a name could be neither written into the manifest nor printed.
    refuse(sorted(f"{i.file!a}: {why}" for i in images if (why := _unwritable(i.file))))
    return override_patients(sorted(images, key=lambda image: image.file), params)


def _unwritable(name: str) -> str:
    if name.encode(errors="replace").decode() != name:
        if sys.getfilesystemencoding() != "utf-8":
            return "this locale cannot read the name; set PYTHONUTF8=1"
        return "the name is not UTF-8"
    return "" if len(name.splitlines()) == 1 else "a line break in the name"
