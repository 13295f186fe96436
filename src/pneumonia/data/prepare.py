"""From a source's films to the prepared folder: manifest, grey squares, masks."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from joblib import Parallel, cpu_count, delayed
from tqdm import tqdm

from pneumonia.data.image import ImageError, decode, encode_png, square_mask
from pneumonia.data.manifest import ManifestRow, image_path, write_manifest
from pneumonia.data.quarantine import QuarantinedFilm, reason_of, write_quarantine
from pneumonia.data.sources import SourceFilm
from pneumonia.data.splits import in_test, in_validation
from pneumonia.errors import InputError, disk_trouble
from pneumonia.params import EngineParams, PrepareParams

TASK = 64  # films that a worker of a cluster is given at a time
HERE = EngineParams(prepare="local", ray_address="auto")
Result = ManifestRow | QuarantinedFilm


@dataclass(frozen=True)
class Prepared:
    """What `prepare` wrote.

    Attributes:
        rows: the manifest's, sorted by image_id.
        quarantined: films that could not be read and were left out.
    """

    rows: list[ManifestRow]
    quarantined: list[QuarantinedFilm]


def prepare(
    films: list[SourceFilm], params: PrepareParams, folder: Path, engine: EngineParams = HERE
) -> Prepared:
    """Decode every film into `folder` on all cores, split by patient, write the manifest.

    The cores are this machine's or those of a Ray cluster, whose nodes see the source and `folder`
    at the same paths; the files are the same.

    Memory does not grow with the pictures: a film is written by the worker that decoded it, and
    only its row comes back. Films that cannot be read go to `quarantine.csv`, which is always
    written, or stop everything, as `on_bad_image` says.

    Raises:
        InputError: films that cannot be read, all of them, one line each; a split that ends up
            without films of a class; `folder` cannot be written to; or no cluster answers.
    """
    films = draw_splits(films, params)
    drawn = not _has_test(films, params)
    _require_both_classes({(film.split, film.label) for film in films}, drawn)
    rows: list[ManifestRow] = []
    bad: list[QuarantinedFilm] = []
    try:
        (folder / "images").mkdir()
        (folder / "masks").mkdir()
        work = (_on_ray if engine.prepare == "ray" else _here)(films, params.size, folder, engine)
        for result in tqdm(
            work, total=len(films), desc="prepare", unit="film", mininterval=1, disable=None
        ):
            if isinstance(result, ManifestRow):
                rows.append(result)
            else:
                bad.append(result)
        bad.sort(key=lambda film: film.file)
        unread = [f"{film.file}: {film.reason}" for film in bad]
        if bad:
            unread.append(f"{len(bad)} of {len(films)} films cannot be read")
            if params.on_bad_image == "fail":
                raise InputError("\n".join(unread))
        _require_both_classes({(row.split, row.label) for row in rows}, drawn, unread)
        rows = _name_copies(folder, rows)
        write_manifest(folder, rows)
        write_quarantine(folder, bad)
    except OSError as error:
        reason = f"{folder}: {error.strerror or error}"
        raise InputError(disk_trouble(error, folder) or reason) from None
    return Prepared(rows, bad)


def draw_splits(films: list[SourceFilm], params: PrepareParams) -> list[SourceFilm]:
    """Give every film its split: train, val or test.

    The test split is the source's own where it has one and `official_test` holds. Else all films
    are pooled, and test is drawn by patient. Validation is drawn by patient from what is left.
    """
    official = _has_test(films, params)

    def split(film: SourceFilm) -> str:
        if official:
            held_out = film.split == "test"
        else:
            held_out = in_test(film.patient_id, params.test, params.seed)
        if held_out:
            return "test"
        return "val" if in_validation(film.patient_id, params.validation, params.seed) else "train"

    return [replace(film, split=split(film)) for film in films]


def _has_test(films: list[SourceFilm], params: PrepareParams) -> bool:
    return params.official_test and any(film.split == "test" for film in films)


def _here(films: list[SourceFilm], size: int, folder: Path, _: EngineParams) -> Iterator[Result]:
    work: Iterator[Result] = Parallel(n_jobs=cpu_count(), return_as="generator", batch_size=16)(
        delayed(_prepare_one)(film, size, folder) for film in films
    )
    return work


def _on_ray(
    films: list[SourceFilm], size: int, folder: Path, engine: EngineParams
) -> Iterator[Result]:
    """Results in any order."""
    from pneumonia.cluster import each

    tasks = (films[start : start + TASK] for start in range(0, len(films), TASK))
    make = partial(_worker, Path.cwd(), size, folder)
    for results in each(engine.ray_address, make, tasks):
        yield from results


def _worker(here: Path, size: int, folder: Path) -> Callable[[Iterable[SourceFilm]], list[Result]]:
    # Films and folder go by the driver's paths. A worker is a process of its own.
    os.chdir(here)
    return lambda films: [_prepare_one(film, size, folder) for film in films]


def _prepare_one(film: SourceFilm, size: int, folder: Path) -> Result:
    """Decode one film and write it; why not, where its file is to blame."""
    try:
        payload, mask = film.read()
        image = decode(payload, size)
    except (ImageError, OSError) as error:
        reason = reason_of(error)
        return QuarantinedFilm(film.file, film.label, film.split, film.patient_id, reason)
    image_id = hashlib.sha256(payload).hexdigest()[:16]
    image_path(folder, image_id).write_bytes(encode_png(image.pixels, zlib.Z_RLE))
    mask_file = ""
    if mask is not None and mask.any():
        mask_file = f"masks/{image_id}.png"
        white = square_mask(mask, size).astype("uint8") * 255
        (folder / mask_file).write_bytes(encode_png(white, zlib.Z_RLE))
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


def _require_both_classes(
    have: set[tuple[str, int]], drawn: bool, unread: Sequence[str] = ()
) -> None:
    """Refuse a split without a class, after the lines on films that are missing from it."""
    another = "take another prepare.seed"
    problems = [
        f"{split}: no {'PNEUMONIA' if label else 'NORMAL'} film after the split by patient; {mend}"
        for split, mend in (
            ("train", "add films, or lower prepare.validation"),
            ("val", f"raise prepare.validation, or {another}"),
            (
                "test",
                f"raise prepare.test, or {another}"
                if drawn
                else "add films to the source's test split, or set prepare.official_test: false",
            ),
        )
        for label in (0, 1)
        if (split, label) not in have
    ]
    if problems:
        raise InputError("\n".join([*unread, *problems]))
