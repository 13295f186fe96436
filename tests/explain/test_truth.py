"""The scores of heat maps, on maps and masks whose scores are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pneumonia.explain.truth import border_frame, energy_inside, hits, score_maps

SIDE = 64


def spot(row: int, column: int, cells: int = 8) -> NDArray[np.float32]:
    """A map with one hot cell."""
    heat = np.zeros((cells, cells), np.float32)
    heat[row, column] = 3.0
    return heat


def cell_mask(row: int, column: int, around: int = 0, cells: int = 8) -> NDArray[np.bool_]:
    """A mask of that cell and of so many around it."""
    mask = np.zeros((SIDE, SIDE), bool)
    step = SIDE // cells
    rows = slice(max(0, row - around) * step, (row + around + 1) * step)
    mask[rows, max(0, column - around) * step : (column + around + 1) * step] = True
    return mask


@given(st.integers(0, 2**31), st.floats(0, 1))
def test_an_even_map_has_the_masks_share_inside(seed: int, share: float) -> None:
    mask = np.random.default_rng(seed).random((SIDE, SIDE)) < share
    even = np.full((7, 7), 0.3, np.float32)
    assert energy_inside(even, mask) == pytest.approx(mask.mean(), abs=1e-4)


@given(st.integers(0, 2**31))
def test_what_is_not_inside_is_outside(seed: int) -> None:
    rng = np.random.default_rng(seed)
    heat, mask = rng.random((7, 7)).astype(np.float32), rng.random((SIDE, SIDE)) < 0.3
    assert energy_inside(heat, mask) + energy_inside(heat, ~mask) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("row", "column"), [(0, 0), (3, 5), (7, 7)])
def test_a_spot_is_found_where_it_is(row: int, column: int) -> None:
    heat = spot(row, column)
    assert energy_inside(heat, cell_mask(row, column, around=2)) == pytest.approx(1, abs=1e-5)
    assert 0.5 < energy_inside(heat, cell_mask(row, column)) < 1
    assert hits(heat, cell_mask(row, column))
    away = cell_mask(7 - row, 7 - column)
    assert energy_inside(heat, away) == 0
    assert not hits(heat, away)
    assert not hits(heat, ~cell_mask(row, column))


def test_a_map_of_zeros_finds_nothing() -> None:
    nothing, everything = np.zeros((7, 7), np.float32), np.ones((SIDE, SIDE), bool)
    assert energy_inside(nothing, everything) == 0
    assert not hits(nothing, everything)


@pytest.mark.parametrize("side", [50, 100, 224, 320])
def test_the_border_is_about_36_percent_and_even_on_all_edges(side: int) -> None:
    frame = border_frame(side)
    assert frame.shape == (side, side)
    assert frame.mean() == pytest.approx(0.36, abs=0.01)
    assert not frame[side // 2, side // 2]
    assert np.array_equal(frame, frame[::-1])
    assert np.array_equal(frame, frame.T)
    assert frame[0].all()


def test_the_figures_are_means_over_the_films_whose_truth_is_known() -> None:
    maps = np.stack([spot(3, 3), spot(4, 4), spot(0, 0)])
    masks = [cell_mask(3, 3, around=2), cell_mask(0, 0), None]
    found = score_maps(maps, masks, SIDE)
    frame = border_frame(SIDE)
    assert found == pytest.approx(
        {
            "empty_maps": 0,
            "border_area": frame.mean(),
            "border_energy": np.mean([energy_inside(one, frame) for one in maps]),
            "energy_inside": 0.5,
            "pointing_game": 0.5,
            "mask_area": (25 + 1) / 64 / 2,
        },
        abs=1e-5,
    )
    assert 0.2 < found["border_energy"] < 0.34


def test_without_any_known_truth_only_the_border_counts() -> None:
    found = score_maps(np.stack([spot(3, 3)]), [None], SIDE)
    assert list(found) == ["empty_maps", "border_energy", "border_area"]


def test_an_empty_map_is_counted_and_wins_nothing() -> None:
    maps = np.stack([spot(0, 0), np.zeros_like(spot(0, 0))])
    found = score_maps(maps, [None, None], SIDE)
    assert found["empty_maps"] == 0.5
    assert found["border_energy"] == score_maps(maps[:1], [None], SIDE)["border_energy"]
    assert score_maps(maps[1:], [None], SIDE)["border_energy"] == 0
