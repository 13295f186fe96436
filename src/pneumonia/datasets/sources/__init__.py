"""Sources of images.

Each source is a module in this folder with a function `open_source(params) -> list[SourceImage]`.
`pneumonia.core.config.DataParams.source` must list the module's name.
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

    If `data.patient_pattern` or `data.patient_csv` is given, it sets the patient ids.

    Raises:
        InputError: the source is missing, a class has no images, or an image has no patient.
    """
    # Import only this source, so that the libraries of the other sources are not needed.
    source = import_module(f"pneumonia.datasets.sources.{params.source}")
    images: list[SourceImage] = source.open_source(params)
    # Refuse names that the manifest cannot hold or that cannot be printed.
    refuse(sorted(f"{i.file!a}: {why}" for i in images if (why := _unwritable(i.file))))
    return override_patients(sorted(images, key=lambda image: image.file), params)


def _unwritable(name: str) -> str:
    if name.encode(errors="replace").decode() != name:
        if sys.getfilesystemencoding() != "utf-8":
            return "this locale cannot read the name; set PYTHONUTF8=1"
        return "the name is not UTF-8"
    return "" if len(name.splitlines()) == 1 else "a line break in the name"
