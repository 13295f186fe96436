"""Near duplicates are found if an image was saved twice, and only then."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from pneumonia.audit.duplicates import LISTED, Pair, closest_pairs, near_duplicates
from pneumonia.audit.survey import perceptual_hash, survey
from pneumonia.core.config import load_params
from pneumonia.datasets.manifest import COLUMNS, image_path, read_manifest
from pneumonia.images.decoding import encode_png, read_grey
from tests.pipeline.imports import ROOT

Pixels = NDArray[np.uint8]
DISTANCE = load_params(ROOT / "params.yaml").visualize.near_duplicate_distance


def recompressed(image: Pixels) -> Pixels:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=30)
    return np.asarray(Image.open(buffer).convert("L"))


def brighter(image: Pixels) -> Pixels:
    return np.clip(image.astype(int) + 20, 0, 255).astype(np.uint8)


def darker(image: Pixels) -> Pixels:
    return (255 * (image / 255) ** 1.25).astype(np.uint8)


def flatter(image: Pixels) -> Pixels:
    return (image * 0.8).astype(np.uint8)


def smaller_and_back(image: Pixels) -> Pixels:
    side = image.shape[0]
    small = Image.fromarray(image).resize((side // 2, side // 2), Image.Resampling.LANCZOS)
    return np.asarray(small.resize((side, side), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("change", [recompressed, brighter, darker, flatter, smaller_and_back])
def test_an_image_saved_again_is_near_itself(
    prepared: Path, change: Callable[[Pixels], Pixels]
) -> None:
    for image_id in read_manifest(prepared)["image_id"][:12]:
        image = read_grey(image_path(prepared, image_id))
        apart = (perceptual_hash(image) != perceptual_hash(change(image))).sum()
        assert apart <= DISTANCE, image_id


def test_drawn_images_are_not_near_each_other(prepared: Path) -> None:
    table = read_manifest(prepared)
    seen = survey(table, prepared)
    assert closest_pairs(seen.hashes, np.arange(len(table)), DISTANCE, 0) == []


def test_a_pair_across_splits_is_listed_with_its_files(prepared: Path, tmp_path: Path) -> None:
    table = read_manifest(prepared)
    (tmp_path / "images").mkdir()
    for image_id in table["image_id"]:
        image = read_grey(image_path(prepared, image_id))
        image_path(tmp_path, image_id).write_bytes(encode_png(image))
    changed = {"train": recompressed, "test": brighter}
    extra = []
    for number, (split, change) in enumerate(changed.items()):
        row = table[table["split"] == split].iloc[0].copy()
        image = read_grey(image_path(prepared, row["image_id"]))
        row["image_id"], row["file"], row["patient_id"] = (
            f"g{number}",
            f"again-{split}",
            f"q{number}",
        )
        row["split"] = "test"
        row["label"] = 1 - row["label"] if split == "train" else row["label"]
        image_path(tmp_path, row["image_id"]).write_bytes(encode_png(change(image)))
        extra.append(row)
    both = pd.concat([table, pd.DataFrame(extra)], ignore_index=True)[COLUMNS]
    seen = survey(both, tmp_path)
    pairs = closest_pairs(seen.hashes, np.arange(len(both)), DISTANCE, 0)
    near = near_duplicates(both, pairs, DISTANCE)
    assert (near.pairs, near.across_splits, near.across_patients, near.across_labels) == (
        2,
        1,
        2,
        1,
    )
    first, second = near.listed
    assert first["files"] == [table[table["split"] == "train"]["file"].iloc[0], "again-train"]
    assert first["splits"] == ["train", "test"]
    assert second["files"] == [table[table["split"] == "test"]["file"].iloc[0], "again-test"]
    assert second["splits"] == ["test", "test"]


@given(
    images=st.integers(1, 700),
    patterns=st.integers(1, 400),
    distance=st.integers(0, 12),
    count=st.integers(0, 8),
    seed=st.integers(0, 99),
)
def test_the_search_equals_two_loops(
    images: int, patterns: int, distance: int, count: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 2, (images, 24)).astype(bool)
    groups = rng.integers(0, patterns, images)
    rows = sorted({int(group): row for row, group in reversed(list(enumerate(groups)))}.values())
    apart = (hashes[:, None] != hashes[None]).sum(axis=2)
    every = sorted(
        (int(apart[a, b]), a, b) for place, a in enumerate(rows) for b in rows[place + 1 :]
    )
    wanted = max(count, sum(bits <= distance for bits, *_ in every))
    found = closest_pairs(hashes, groups, distance, count)
    assert found == [Pair(a, b, bits) for bits, a, b in every[:wanted]]


def test_a_long_list_is_shortened_and_counted_in_full() -> None:
    rows = [
        [f"{n:03}", f"{n}.png", 0, "normal", f"p{n}", "train", 1, 1, "L", 1, ""] for n in range(40)
    ]
    table = pd.DataFrame(rows, columns=COLUMNS)
    pairs = closest_pairs(np.zeros((40, 256), bool), np.arange(40), 0, 0)
    near = near_duplicates(table, pairs, 0)
    assert near.pairs == 40 * 39 // 2
    assert len(near.listed) == LISTED
