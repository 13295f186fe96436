"""Source `folder`: the Kaggle layout, `{train,val,test}/{NORMAL,PNEUMONIA}/*`.

`val` may be missing. It is merged with `train`: in the Kaggle copy `val` has 16 images, too few to
select a model, and shares patients with `train`. If `test` is missing, it is drawn by patient.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from pneumonia.core.config import DataParams
from pneumonia.core.errors import InputError, refuse
from pneumonia.datasets.manifest import LABELS, SourceImage, read_file
from pneumonia.images.decoding import SUFFIXES

_SERIES = (
    # person12_bacteria_46.jpeg shows person 12 of the bacterial series. person12_virus_30.jpeg is
    # another child. NORMAL2-IM-0115-0001.jpeg and IM-0115-0001.jpeg also show two children.
    re.compile(r"^(?P<patient>person\d+_(?P<subtype>bacteria|virus))_"),
    re.compile(r"^(?P<patient>(?:NORMAL2-)?IM-\d+)-"),
)


def parse_name(name: str) -> tuple[str, str | None]:
    """Read patient id (with series) and subtype from a file name of the Kermany data set.

    For any other file name, the id is the name without its ending, and the subtype is None.
    """
    for pattern in _SERIES:
        if match := pattern.match(name):
            return match["patient"], match.groupdict().get("subtype")
    return Path(name).stem, None


def open_source(params: DataParams) -> list[SourceImage]:
    """List the images below `data.path`; raise the same errors as `images_in`."""
    return images_in(Path(params.path))


def images_in(root: Path) -> list[SourceImage]:
    """List the images in a folder with the Kaggle layout.

    Raises:
        InputError: the folder or a class folder is missing, or a class folder is empty.
    """
    if not root.is_dir():
        raise InputError(f"data.path: {root}: no such folder")
    images: list[SourceImage] = []
    problems: list[str] = []
    for split in ("train", "val", "test"):
        if split != "train" and not (root / split).exists():
            continue
        for label, name in enumerate(LABELS):
            folder = root / split / name
            files = sorted(
                file
                for file in folder.rglob("*")
                if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
            )
            if not folder.is_dir():
                problems.append(f"{folder}: no such folder")
            elif not files:
                problems.append(f"{folder}: no {', '.join(SUFFIXES)} file in it")
            images += [_image(root, file, label, split) for file in files]
    if problems:
        layout = "{train,val,test}/{NORMAL,PNEUMONIA}/*.jpeg (val and test may be missing)"
        refuse([*problems, f"{root} needs {layout}"])
    return images


def _image(root: Path, file: Path, label: int, split: str) -> SourceImage:
    patient, subtype = parse_name(file.name)
    return SourceImage(
        file=file.relative_to(root).as_posix(),
        label=label,
        subtype="normal" if label == 0 else subtype or "unknown",
        patient_id=patient,
        split="test" if split == "test" else "train",
        read=partial(read_file, file),
    )
