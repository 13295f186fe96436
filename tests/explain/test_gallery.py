"""The images of a gallery are chosen by a rule, and its file keeps them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pneumonia.explain.gallery import (
    GROUPS,
    Exhibit,
    Explanation,
    pick,
    read_exhibits,
    write_exhibits,
)


def predictions(*images: tuple[str, int, float]) -> pd.DataFrame:
    return pd.DataFrame(images, columns=["image_id", "label", "probability"])


def test_every_outcome_is_its_group() -> None:
    table = predictions(("tp", 1, 0.9), ("fn", 1, 0.1), ("fp", 0, 0.4), ("tn", 0, 0.39))
    assert pick(table, 0.4, 4) == {
        "true_positive": ["tp"],
        "false_negative": ["fn"],
        "false_positive": ["fp"],  # at the threshold is pneumonia
        "true_negative": ["tn"],
    }


def test_images_go_from_most_to_least_confident_at_even_steps() -> None:
    images = [(f"f{number:02d}", 1, 0.5 + number / 100) for number in range(21)]
    table = predictions(*images).sample(frac=1, random_state=0)
    assert pick(table, 0.5, 5)["true_positive"] == ["f20", "f15", "f10", "f05", "f00"]
    assert pick(table, 0.5, 2)["true_positive"] == ["f20", "f00"]
    assert pick(table, 0.5, 1)["true_positive"] == ["f20"]


def test_confidence_is_the_distance_from_the_threshold_on_either_side() -> None:
    table = predictions(("near", 0, 0.25), ("far", 0, 0.01), ("middle", 0, 0.1))
    assert pick(table, 0.3, 3)["true_negative"] == ["far", "middle", "near"]


def test_ties_go_by_image_id_whatever_the_order_of_the_rows() -> None:
    images = [(f"f{number}", number % 2, 1.0) for number in range(10)]
    expected = pick(predictions(*images), 0.5, 3)
    assert expected["true_positive"] == sorted(expected["true_positive"])
    for seed in range(5):
        shuffled = predictions(*images).sample(frac=1, random_state=seed)
        assert pick(shuffled, 0.5, 3) == expected


def test_a_group_without_images_is_empty() -> None:
    found = pick(predictions(("a", 1, 0.9)), 0.5, 3)
    assert list(found) == list(GROUPS)
    assert found["false_negative"] == found["false_positive"] == found["true_negative"] == []
    assert all(images == [] for images in pick(predictions(), 0.5, 3).values())


@pytest.mark.parametrize("images", [1, 2, 3, 7])
def test_no_image_is_shown_twice_and_no_more_than_asked(images: int) -> None:
    table = predictions(*[(f"f{number}", 1, 0.5 + number / 20) for number in range(7)])
    shown = pick(table, 0.5, images)["true_positive"]
    assert len(shown) == len(set(shown)) == images
    assert len(pick(table, 0.5, 24)["true_positive"]) == 7


def exhibit(number: int, masked: bool) -> Exhibit:
    """An image with maps of two models, whose grids differ."""
    rng = np.random.default_rng(number)
    explanations = {
        model: Explanation(
            float(rng.random()), 0.4, rng.random((cells, cells)).astype(np.float32),
            rng.random((cells, cells)).astype(np.float32), 1.5,
        )
        for model, cells in (("scratch", 4), ("transfer", 7))
    }  # fmt: skip
    image = rng.integers(0, 256, (16, 16), dtype=np.uint8)
    box = (slice(2, 14), slice(0, 16))
    return Exhibit(f"{number:016x}", "virus", image, box, image > 99 if masked else None,
                   explanations)  # fmt: skip


def test_exhibits_are_read_as_they_were_written(tmp_path: Path) -> None:
    galleries: dict[str, list[Exhibit]] = {group: [] for group in GROUPS}
    galleries["true_positive"] = [exhibit(1, masked=True), exhibit(2, masked=False)]
    galleries["true_negative"] = [exhibit(3, masked=False)]
    for name in ("one.npz", "two.npz"):
        write_exhibits(tmp_path / name, galleries)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    read = read_exhibits(tmp_path / "one.npz")
    assert {group: len(images) for group, images in read.items()} == {
        "true_positive": 2, "false_negative": 0, "false_positive": 0, "true_negative": 1,
    }  # fmt: skip
    for group, images in galleries.items():
        for written, image in zip(images, read[group], strict=True):
            assert (image.image_id, image.subtype) == (written.image_id, written.subtype)
            assert image.box == written.box
            assert np.array_equal(image.image, written.image)
            assert (image.mask is None) == (written.mask is None)
            assert image.mask is None or np.array_equal(image.mask, written.mask)
            assert list(image.explanations) == ["scratch", "transfer"]
            for model, answer in written.explanations.items():
                again = image.explanations[model]
                assert (again.probability, again.threshold) == (answer.probability, 0.4)
                assert again.scale == 1.5
                assert again.heat_map.dtype == np.float32
                assert np.array_equal(again.heat_map, answer.heat_map)
                assert np.array_equal(again.against, answer.against)
