"""From a source's films to the prepared folder: manifest, grey squares, masks."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from joblib import Parallel, cpu_count, delayed
from tqdm import tqdm

from pneumonia.data.image import ImageError, decode, encode_png, square_mask
from pneumonia.data.manifest import ManifestRow, image_path, write_manifest
from pneumonia.data.sources import SourceFilm
from pneumonia.data.splits import in_validation
from pneumonia.errors import InputError
from pneumonia.params import PrepareParams


def prepare(films: list[SourceFilm], params: PrepareParams, folder: Path) -> list[ManifestRow]:
    """Decode every film into `folder` on all cores, split by patient, write the manifest.

    Returns:
        the manifest's rows, sorted by image_id.

    Raises:
        InputError: films that cannot be read, all of them, one line each; or a split that ends up
            without films of a class.
    """
    (folder / "images").mkdir()
    (folder / "masks").mkdir()
    work = Parallel(n_jobs=cpu_count(), return_as="generator", batch_size=16)(
        delayed(_prepare_one)(film, params.size, folder) for film in films
    )
    results = list(
        tqdm(work, total=len(films), desc="prepare", unit="film", mininterval=1, disable=None)
    )
    problems = [result for result in results if isinstance(result, str)]
    if problems:
        raise InputError(
            "\n".join([*problems, f"{len(problems)} of {len(films)} films cannot be read"])
        )
    rows = [
        replace(row, split="val")
        if row.split == "train" and in_validation(row.patient_id, params.validation, params.seed)
        else row
        for row in results
    ]
    rows = _name_copies(folder, rows)
    _require_both_classes(rows)
    write_manifest(folder, rows)
    return rows


def _prepare_one(film: SourceFilm, size: int, folder: Path) -> ManifestRow | str:
    """Decode one film and write it; a reason, with the file, where that fails."""
    try:
        payload, mask = film.read()
        image = decode(payload, size)
    except (ImageError, OSError) as error:
        return f"{film.file}: {error}"
    image_id = hashlib.sha256(payload).hexdigest()[:16]
    image_path(folder, image_id).write_bytes(encode_png(image.pixels))
    mask_file = ""
    if mask is not None and mask.any():
        mask_file = f"masks/{image_id}.png"
        (folder / mask_file).write_bytes(encode_png(square_mask(mask, size).astype("uint8") * 255))
    return ManifestRow(
        image_id=image_id,
        file=film.file,
        label=film.label,
        subtype=film.subtype,
        patient_id=film.patient_id,
        split=film.split,
        width=image.width,
        height=image.height,
        mode=image.mode,
        bytes=len(payload),
        mask=mask_file,
    )


def _name_copies(folder: Path, rows: list[ManifestRow]) -> list[ManifestRow]:
    """Give the redundant copies of a file (same bytes, other name) an image_id of their own."""
    groups: dict[str, list[ManifestRow]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row.file):
        groups[row.image_id].append(row)
    named = []
    for image_id, copies in sorted(groups.items()):
        named.append(copies[0])
        for number, row in enumerate(copies[1:], start=1):
            copy_id = f"{image_id}-{number}"
            content = image_path(folder, image_id).read_bytes()
            image_path(folder, copy_id).write_bytes(content)
            named.append(replace(row, image_id=copy_id))
    return named


def _require_both_classes(rows: list[ManifestRow]) -> None:
    have = {(row.split, row.label) for row in rows}
    problems = [
        f"{split}: no {'PNEUMONIA' if label else 'NORMAL'} film after the split by patient; {mend}"
        for split, mend in (
            ("train", "add films, or lower prepare.validation"),
            ("val", "raise prepare.validation, or take another prepare.seed"),
            ("test", "add films to the source's test split"),
        )
        for label in (0, 1)
        if (split, label) not in have
    ]
    if problems:
        raise InputError("\n".join(problems))
