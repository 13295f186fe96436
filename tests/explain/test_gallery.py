"""A gallery's images follow from a rule."""

from __future__ import annotations

import pandas as pd
import pytest

from pneumonia.explain.gallery import GROUPS, pick


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
