"""Write the prepared folder, that is manifest, grey squares and masks, from a source's images."""

from __future__ import annotations

import hashlib
import os
import shutil
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from joblib import Parallel, cpu_count, delayed
from tqdm import tqdm

from pneumonia.core.config import EngineParams, PrepareParams
from pneumonia.core.errors import InputError, disk_trouble, refuse
from pneumonia.datasets.manifest import (
    LABELS,
    ManifestRow,
    QuarantinedImage,
    SourceImage,
    image_path,
    reason_of,
    write_manifest,
    write_quarantine,
)
from pneumonia.datasets.splits import in_test, in_validation
from pneumonia.images.decoding import decode, encode_png, square_mask
from pneumonia.images.limits import ImageError

TASK = 64  # so many images at a time go to a worker of a cluster
LOCAL = EngineParams(prepare="local", ray_address="auto")
Result = ManifestRow | QuarantinedImage


@dataclass(frozen=True)
class Prepared:
    """The result of `prepare`."""

    rows: list[ManifestRow]  #: rows of the manifest, sorted by image_id
    quarantined: list[QuarantinedImage]  #: unreadable images, which the manifest leaves out


def prepare(
    images: list[SourceImage], params: PrepareParams, folder: Path, engine: EngineParams = LOCAL
) -> Prepared:
    """Decode every image into `folder` on all cores, split by patient, and write the manifest.

    The work runs on this machine, or on a Ray cluster whose nodes have the source and `folder` at
    the same paths. Both ways give the same files. A worker writes each image that it decodes and
    returns only the row. So the memory does not depend on the number of images. `on_bad_image`
    decides if unreadable images go to `quarantine.csv`, which always exists, or are an error.

    Raises:
        InputError: images are unreadable (one line for each image); a split has no image of a
            class; `folder` is not writable; or no cluster answers.
    """
    images = assign_splits(images, params)
    drawn = not _has_test(images, params)
    _require_both_classes({(image.split, image.label) for image in images}, drawn)
    rows: list[ManifestRow] = []
    bad: list[QuarantinedImage] = []
    try:
        (folder / "images").mkdir()
        (folder / "masks").mkdir()
        run = _run_on_ray if engine.prepare == "ray" else _run_here
        results = run(images, params.size, folder, engine)
        for result in tqdm(
            results, total=len(images), desc="prepare", unit="image", mininterval=1, disable=None
        ):
            if isinstance(result, ManifestRow):
                rows.append(result)
            else:
                bad.append(result)
        bad.sort(key=lambda image: image.file)
        unread = [f"{image.file}: {image.reason}" for image in bad]
        if bad:
            unread.append(f"{len(bad)} of {len(images)} images cannot be read")
            if params.on_bad_image == "fail":
                refuse(unread)
        _require_both_classes({(row.split, row.label) for row in rows}, drawn, unread)
        rows = _name_copies(folder, rows)
        write_manifest(folder, rows)
        write_quarantine(folder, bad)
    except OSError as error:
        reason = f"{folder}: {error.strerror or error}"
        raise InputError(disk_trouble(error, folder) or reason) from None
    return Prepared(rows, bad)


def assign_splits(images: list[SourceImage], params: PrepareParams) -> list[SourceImage]:
    """Set the split of every image: train, val or test.

    If the source has a test split and `official_test` is true, this split is kept. Otherwise test
    is drawn by patient from all images. Validation is drawn by patient from the rest.
    """
    drawn = not _has_test(images, params)

    def split(image: SourceImage) -> str:
        if drawn and in_test(image.patient_id, params.test, params.seed):
            return "test"
        if not drawn and image.split == "test":
            return "test"
        return "val" if in_validation(image.patient_id, params.validation, params.seed) else "train"

    return [replace(image, split=split(image)) for image in images]


def _has_test(images: list[SourceImage], params: PrepareParams) -> bool:
    return params.official_test and any(image.split == "test" for image in images)


def _run_here(
    images: list[SourceImage], size: int, folder: Path, _: EngineParams
) -> Iterator[Result]:
    parallel = Parallel(n_jobs=cpu_count(), return_as="generator", batch_size=16)
    yield from parallel(delayed(_prepare_image)(image, size, folder) for image in images)


def _run_on_ray(
    images: list[SourceImage], size: int, folder: Path, engine: EngineParams
) -> Iterator[Result]:
    """Prepare images on a Ray cluster; the results come in any order."""
    from pneumonia.core.parallel import each

    tasks = (images[start : start + TASK] for start in range(0, len(images), TASK))
    make = partial(_worker, Path.cwd(), size, folder)
    for results in each(engine.ray_address, make, tasks):
        yield from results


def _worker(
    directory: Path, size: int, folder: Path
) -> Callable[[Iterable[SourceImage]], list[Result]]:
    # The paths of images and folder are relative to the driver's directory.
    os.chdir(directory)
    return lambda images: [_prepare_image(image, size, folder) for image in images]


def _prepare_image(image: SourceImage, size: int, folder: Path) -> Result:
    """Decode an image and write it; if it is unreadable, return the reason."""
    try:
        payload, mask = image.read()
        decoded = decode(payload, size)
    except (ImageError, OSError) as error:
        reason = reason_of(error)
        return QuarantinedImage(image.file, image.label, image.split, image.patient_id, reason)
    image_id = hashlib.sha256(payload).hexdigest()[:16]
    image_path(folder, image_id).write_bytes(encode_png(decoded.pixels, zlib.Z_RLE))
    mask_file = ""
    if mask is not None and mask.any():
        mask_file = f"masks/{image_id}.png"
        white = square_mask(mask, size).astype("uint8") * 255
        (folder / mask_file).write_bytes(encode_png(white, zlib.Z_RLE))
    return ManifestRow(
        image_id=image_id,
        file=image.file,
        label=image.label,
        subtype=image.subtype,
        patient_id=image.patient_id,
        split=image.split,
        width=decoded.width,
        height=decoded.height,
        mode=decoded.mode,
        bytes=len(payload),
        mask=mask_file,
    )


def _name_copies(folder: Path, rows: list[ManifestRow]) -> list[ManifestRow]:
    """Give different image_ids to copies of a file (same bytes, other names)."""
    groups: dict[str, list[ManifestRow]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row.file):
        groups[row.image_id].append(row)
    named = []
    for image_id, copies in sorted(groups.items()):
        named.append(copies[0])
        for number, row in enumerate(copies[1:], start=1):
            copy_id = f"{image_id}-{number}"
            shutil.copyfile(image_path(folder, image_id), image_path(folder, copy_id))
            named.append(replace(row, image_id=copy_id))
    return named


def _require_both_classes(
    present: set[tuple[str, int]], drawn: bool, unread: Sequence[str] = ()
) -> None:
    """Refuse a split that has no image of a class; the message begins with the lines `unread`."""
    another = "choose another prepare.seed"
    remedies = {
        "train": "add images, or lower prepare.validation",
        "val": f"raise prepare.validation, or {another}",
        "test": f"raise prepare.test, or {another}",
    }
    if not drawn:
        official = "add images to the source's test split, or set prepare.official_test: false"
        remedies["test"] = official
    problems = [
        f"{split}: no {LABELS[label]} image after the split by patient; {remedy}"
        for split, remedy in remedies.items()
        for label in (0, 1)
        if (split, label) not in present
    ]
    if problems:
        refuse([*unread, *problems])
