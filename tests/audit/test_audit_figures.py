"""Every number of the audit equals an independent recount."""

from __future__ import annotations

import collections
import csv
import json
import os
import statistics
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pneumonia.audit.duplicates import closest_pairs, near_duplicates, pixel_groups
from pneumonia.audit.leaks import audit
from pneumonia.audit.survey import survey
from pneumonia.datasets.manifest import COLUMNS, image_path, read_manifest
from pneumonia.datasets.prepare import prepare
from pneumonia.datasets.sources import open_source
from pneumonia.images.decoding import encode_png
from tests.conftest import folder_params, prepare_params

REAL = os.environ.get("CHEST_XRAY_DIR", "")
Row = dict[str, str]


def rows_of(folder: Path) -> list[Row]:
    with (folder / "manifest.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def nested(rows: list[Row]) -> dict[str, dict[str, int]]:
    """Rows by split and subtype, without the zeros."""
    counts: dict[str, dict[str, int]] = {}
    for row in rows:
        kinds = counts.setdefault(row["split"], {})
        kinds[row["subtype"]] = kinds.get(row["subtype"], 0) + 1
    return counts


def without_zeros(counts: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    return {split: {k: n for k, n in kinds.items() if n} for split, kinds in counts.items()}


def recount(folder: Path) -> dict[str, Any]:
    """The numbers of the audit from the CSV and the pixels, in plain Python."""
    rows = rows_of(folder)
    by_pixels = collections.defaultdict(list)
    for row in rows:
        with Image.open(folder / "images" / f"{row['image_id']}.png") as image:
            by_pixels[image.tobytes()].append(row)
    groups = [group for group in by_pixels.values() if len(group) > 1]
    once = {(row["patient_id"], row["split"], row["subtype"]): row for row in rows}
    splits_of = collections.defaultdict(set)
    for row in rows:
        splits_of[row["patient_id"]].add(row["split"])
    modes = collections.Counter((row["label"], row["mode"]) for row in rows)
    return {
        "images": len(rows),
        "patients": len(splits_of),
        "shared_patients": sum(len(splits) > 1 for splits in splits_of.values()),
        "counts": nested(rows),
        "patient_counts": nested(list(once.values())),
        "copies": sum(len(group) - 1 for group in groups),
        "copies_across_patients": sum(len({r["patient_id"] for r in g}) > 1 for g in groups),
        "copy_groups": sorted(sorted(row["file"] for row in group) for group in groups),
        "modes": [
            {"class": ("NORMAL", "PNEUMONIA")[int(label)], "mode": mode, "files": count}
            for (label, mode), count in sorted(modes.items())
        ],
        "bytes": {
            name: statistics.median(int(row["bytes"]) for row in rows if row["label"] == label)
            for label, name in (("0", "NORMAL"), ("1", "PNEUMONIA"))
        },
        "aspect": {
            name: statistics.median(
                int(row["width"]) / int(row["height"]) for row in rows if row["label"] == label
            )
            for label, name in (("0", "NORMAL"), ("1", "PNEUMONIA"))
        },
    }


def assert_right(folder: Path) -> None:
    found = json.loads(json.dumps(asdict(audit(read_manifest(folder), folder))))
    right = recount(folder)
    for key in ("images", "patients", "copies", "copies_across_patients", "copy_groups", "modes"):
        assert found[key] == right[key], key
    for key in ("counts", "patient_counts"):
        assert without_zeros(found[key]) == right[key], key
    shared = [leak for leak in found["leaks"] if leak.startswith("patient ")]
    assert len(shared) == right["shared_patients"]
    sizes = {(row["class"], row["measure"]): row for row in found["sizes"]}
    for measure in ("bytes", "aspect"):
        for name, median in right[measure].items():
            row = sizes[name, measure]
            assert row["median"] == pytest.approx(median, abs=6e-4)
            assert row["low"] <= row["median"] <= row["high"]


def add_copies(prepared: Path, folder: Path) -> Path:
    """The phantom with three copies of an image (two with other patients) and one of another."""
    table = read_manifest(prepared)
    extra = []
    for number, (source, patient) in enumerate([(0, "a"), (0, "b"), (0, ""), (5, "")]):
        row = table.iloc[source].copy()
        row["image_id"], row["file"] = f"f{number:015x}", f"copy-{number}.png"
        row["patient_id"] = patient or row["patient_id"]
        extra.append(row)
    both = pd.concat([table, pd.DataFrame(extra)])[COLUMNS].sort_values("image_id")
    (folder / "images").mkdir()
    both.to_csv(folder / "manifest.csv", index=False)
    pixels = {
        row["image_id"]: table["image_id"].iloc[s]
        for row, s in zip(extra, (0, 0, 0, 5), strict=True)
    }
    for image_id in both["image_id"]:
        content = image_path(prepared, pixels.get(image_id, image_id)).read_bytes()
        image_path(folder, image_id).write_bytes(content)
    return folder


def test_every_figure_is_right_on_a_drawn_set(prepared: Path) -> None:
    assert_right(prepared)


def test_every_figure_is_right_with_copies(prepared: Path, tmp_path: Path) -> None:
    folder = add_copies(prepared, tmp_path)
    assert_right(folder)
    found = audit(read_manifest(folder), folder)
    assert (found.copies, found.copies_across_patients) == (4, 1)
    assert sorted(len(group) for group in found.copy_groups) == [2, 4]


def test_a_missing_image_is_one_message(prepared: Path, tmp_path: Path) -> None:
    table = read_manifest(prepared)
    from pneumonia.core.errors import InputError

    for look in (audit, survey):
        with pytest.raises(InputError, match="dvc repro -f prepare"):
            look(table, tmp_path)


def test_a_survey_holds_what_a_plain_reading_gives(prepared: Path) -> None:
    table = read_manifest(prepared)
    seen = survey(table, prepared)
    images = np.stack(
        [np.asarray(Image.open(image_path(prepared, name))) for name in table["image_id"]]
    ).astype(float)
    side = images.shape[1]
    cells = images.reshape(len(images), 32, side // 32, 32, side // 32).mean(axis=(2, 4))
    # Pillow rounds to 8 bits after each direction.
    assert np.abs(seen.thumbnails - cells).max() <= 1
    for label in (0, 1):
        mean = images[table["label"] == label].mean(axis=0)
        np.testing.assert_allclose(seen.means[label], mean, atol=1e-9)
    for row, image in enumerate(images):
        counts = np.histogram(image, bins=np.arange(0, 257, 4))[0]
        assert (seen.histograms[row] == counts).all()
    assert seen.frames.shape == (len(images), 432)


def test_the_border_is_the_border(tmp_path: Path) -> None:
    # White outside, black inside: 8 of 224 px in every size.
    from pneumonia.audit.survey import border

    for side in (32, 64, 224, 448):
        pixels = np.full((side, side), 255, np.uint8)
        edge = round(side * 8 / 224)
        pixels[edge:-edge, edge:-edge] = 0
        inside = np.zeros_like(pixels)
        inside[edge:-edge, edge:-edge] = 255
        if side % 56 == 0:
            assert border(pixels).min() == 255
            assert border(inside).max() == 0
        assert border(pixels).mean() > 200
        assert border(pixels).shape == (432,)


@pytest.mark.real
@pytest.mark.skipif(not REAL, reason="CHEST_XRAY_DIR names no folder of real images")
def test_every_figure_is_right_on_the_real_images(tmp_path: Path) -> None:
    prepare(
        open_source(folder_params(Path(REAL))),
        prepare_params(size=224, validation=0.12, seed=7),
        tmp_path,
    )
    assert_right(tmp_path)
    table = read_manifest(tmp_path)
    found = audit(table, tmp_path)
    assert found.images == 5232
    assert found.leaks == []
    assert found.patients_naive < found.patients
    assert found.patients_naive_shared > 0
    # Near duplicates again, with hashes as numbers, pair by pair.
    seen = survey(table, tmp_path)
    groups = pixel_groups(table, tmp_path).to_numpy()
    distance = 40
    pairs = closest_pairs(seen.hashes, groups, distance, 0)
    numbers = [int("".join(str(int(bit)) for bit in row), 2) for row in seen.hashes]
    first_of = sorted({group: row for row, group in reversed(list(enumerate(groups)))}.values())
    right = {
        (a, b, (numbers[a] ^ numbers[b]).bit_count())
        for place, a in enumerate(first_of)
        for b in first_of[place + 1 :]
        if (numbers[a] ^ numbers[b]).bit_count() <= distance
    }
    assert {(pair.first, pair.second, pair.distance) for pair in pairs} == right
    assert right
    assert near_duplicates(table, pairs, 24).pairs == sum(bits <= 24 for *_, bits in right)


def test_encoded_images_with_equal_pixels_have_equal_bytes() -> None:
    # The search for copies depends on it.
    image = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    assert encode_png(image) == encode_png(np.asfortranarray(image.copy()))
