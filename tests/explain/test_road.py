"""Parts of an image are removed and filled; the fall of the logit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pneumonia.explain import road

SIDE = 112


def a_slope() -> NDArray[np.uint8]:
    """An image that gets brighter evenly from left to right."""
    return np.tile(np.linspace(20, 230, SIDE), (SIDE, 1)).round().astype(np.uint8)


@given(st.integers(0, 2**31), st.sampled_from(road.SHARES))
def test_the_share_that_comes_first_is_removed(seed: int, share: float) -> None:
    order = np.random.default_rng(seed).random((20, 20))
    removed = road.removed_by(order, share)
    assert removed.mean() == pytest.approx(share, abs=1 / 400)
    assert order[removed].min() > order[~removed].max()


def test_one_cell_is_filled_with_the_papers_weights() -> None:
    # Rong et al. 2022, section 4.2: 1/6 for each neighbour beside, 1/12 for each diagonal one.
    values = np.arange(9, dtype=float).reshape(3, 3) ** 2
    unknown = np.zeros((3, 3), bool)
    unknown[1, 1] = True
    beside, across = values[[0, 1, 1, 2], [1, 0, 2, 1]], values[[0, 0, 2, 2], [0, 2, 0, 2]]
    assert road._solve(values, unknown) == pytest.approx(beside.sum() / 6 + across.sum() / 12)


def test_in_a_corner_the_present_neighbours_share_the_weight() -> None:
    values = np.array([[0.0, 10, 0], [20, 40, 0], [0, 0, 0]])
    unknown = np.zeros((3, 3), bool)
    unknown[0, 0] = True
    assert road._solve(values, unknown) == pytest.approx((10 / 6 + 20 / 6 + 40 / 12) / (5 / 12))


def test_a_linear_slope_is_restored() -> None:
    removed = np.zeros((road.CELLS, road.CELLS), bool)
    removed[15:40, 15:40] = True
    filled = road.fill(a_slope(), removed, np.random.default_rng(0))
    difference = np.abs(filled.astype(float) - a_slope())
    assert difference[40:60, 40:60].mean() < 4  # the noise's standard deviation is 2.55
    assert np.array_equal(filled[:28], a_slope()[:28])
    assert np.array_equal(filled[82:], a_slope()[82:])


def test_a_removed_spot_disappears() -> None:
    image = a_slope()
    image[50:60, 50:60] = 255
    removed = np.zeros((road.CELLS, road.CELLS), bool)
    removed[24:31, 24:31] = True
    filled = road.fill(image, removed, np.random.default_rng(0))
    assert np.abs(filled[50:60, 50:60].astype(float) - a_slope()[50:60, 50:60]).mean() < 5


def test_only_removing_the_evidence_lowers_the_logit() -> None:
    rng = np.random.default_rng(0)
    images = rng.normal(100, 5, (6, SIDE, SIDE, 1)).astype(np.uint8)
    true = np.zeros((6, 14, 14), np.float32)
    for number, (row, column) in enumerate(rng.integers(2, 12, (6, 2))):
        true[number, row, column] = 1
        images[number, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = 220

    def brightest(some: NDArray[np.uint8]) -> NDArray[np.float32]:
        cells = some.reshape(len(some), 14, 8, 14, 8).mean(axis=(2, 4))
        return cells.max(axis=(1, 2)).astype(np.float32)

    orders = {"map": true, "random": road.random_maps(true, 1), "wrong": 1 - true}
    falls = road.falls(brightest, images, orders, seed=7)
    assert list(falls["map"]) == list(road.SHARES)
    assert falls["map"][0.2].shape == (6,)
    assert falls["map"][0.2].min() > 90
    assert falls["random"][0.2].mean() < 60
    assert abs(falls["wrong"][0.2]).max() < 5
    again = road.falls(brightest, images, orders, seed=7)
    assert all(np.array_equal(again[name][0.4], falls[name][0.4]) for name in orders)


def test_edges_are_where_the_image_changes() -> None:
    image = np.zeros((1, SIDE, SIDE, 1), np.uint8)
    image[:, :, SIDE // 2 :] = 200
    found = road.edges(image)
    assert found.shape == (1, road.CELLS, road.CELLS)
    assert set(np.flatnonzero(found[0].sum(axis=0))) == {road.CELLS // 2 - 1, road.CELLS // 2}
