"""Scores of heat maps on maps and masks with known scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pneumonia.explain.localization import (
    border_frame,
    energy_inside,
    hits,
    other_patients,
    score_maps,
)
from pneumonia.images.decoding import image_box
from pneumonia.inference.overlay import smooth

SIDE = 64
WHOLE = (slice(0, SIDE), slice(0, SIDE))


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
def test_a_uniform_map_has_the_masks_share_inside(seed: int, share: float) -> None:
    mask = np.random.default_rng(seed).random((SIDE, SIDE)) < share
    even = np.full((SIDE, SIDE), 0.3, np.float32)
    assert energy_inside(even, mask) == pytest.approx(mask.mean(), abs=1e-4)


@given(st.integers(0, 2**31))
def test_what_is_not_inside_is_outside(seed: int) -> None:
    rng = np.random.default_rng(seed)
    heat, mask = rng.random((SIDE, SIDE)).astype(np.float32), rng.random((SIDE, SIDE)) < 0.3
    assert energy_inside(heat, mask) + energy_inside(heat, ~mask) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("row", "column"), [(0, 0), (3, 5), (7, 7)])
def test_a_spot_is_found_where_it_is(row: int, column: int) -> None:
    heat = smooth(spot(row, column), SIDE)
    assert energy_inside(heat, cell_mask(row, column, around=2)) == pytest.approx(1, abs=1e-5)
    assert 0.5 < energy_inside(heat, cell_mask(row, column)) < 1
    assert hits(heat, cell_mask(row, column))
    away = cell_mask(7 - row, 7 - column)
    assert energy_inside(heat, away) == 0
    assert not hits(heat, away)
    assert not hits(heat, ~cell_mask(row, column))


def test_a_map_of_zeros_finds_nothing() -> None:
    nothing, everything = np.zeros((SIDE, SIDE), np.float32), np.ones((SIDE, SIDE), bool)
    assert energy_inside(nothing, everything) == 0
    assert not hits(nothing, everything)


@pytest.mark.parametrize(("height", "width"), [(50, 50), (224, 224), (224, 160), (90, 320)])
def test_the_border_is_about_36_percent_and_alike_on_opposite_edges(
    height: int, width: int
) -> None:
    frame = border_frame(height, width)
    assert frame.shape == (height, width)
    assert frame.mean() == pytest.approx(0.36, abs=0.01)
    assert not frame[height // 2, width // 2]
    assert np.array_equal(frame, frame[::-1, ::-1])
    assert frame[0].all()
    assert frame[:, 0].all()


def test_the_figures_are_those_of_each_image() -> None:
    maps = np.stack([spot(3, 3), spot(4, 4), spot(0, 0)])
    others = maps[[1, 2, 0]]
    masks = [cell_mask(3, 3, around=2), cell_mask(0, 0, around=1), None]
    found = score_maps(maps, others, masks, [WHOLE] * 3, SIDE)
    frame = border_frame(SIDE, SIDE)
    assert list(found["empty"]) == [0, 0, 0]
    assert list(found["border_area"]) == pytest.approx([frame.mean()] * 3)
    expected = [energy_inside(smooth(one, SIDE), frame) for one in maps]
    assert list(found["border_energy"]) == pytest.approx(expected)
    assert list(found["energy_inside"]) == pytest.approx([1, 0, np.nan], abs=1e-5, nan_ok=True)
    assert list(found["pointing_game"]) == pytest.approx([1, 0, np.nan], nan_ok=True)
    # The first image's mask reaches to the second one's spot, the second's is the third one's.
    assert found["other_energy_inside"][0] > 0.9
    assert list(found["other_pointing_game"]) == pytest.approx([1, 1, np.nan], nan_ok=True)
    assert list(found["mask_area"]) == pytest.approx([25 / 64, 4 / 64, np.nan], nan_ok=True)


def test_the_padding_is_left_out() -> None:
    wide = image_box(80, 40, SIDE)
    heat = np.ones((8, 8), np.float32)
    found = score_maps(heat[None], heat[None], [None], [wide], SIDE)
    # The border energy of a uniform map is the area of the border.
    assert found["border_energy"][0] == pytest.approx(found["border_area"][0], abs=1e-5)
    assert found["border_area"][0] == border_frame(32, 64).mean()
    heat[:1] = 100
    hot_padding = score_maps(heat[None], heat[None], [None], [(slice(20, 48), slice(0, 64))], SIDE)
    assert hot_padding["border_energy"][0] == pytest.approx(0.36, abs=0.03)


def test_without_masks_only_the_border_is_scored() -> None:
    found = score_maps(spot(3, 3)[None], spot(0, 0)[None], [None], [WHOLE], SIDE)
    assert list(found) == ["empty", "border_energy", "border_area"]


def test_an_empty_map_is_counted_and_wins_nothing() -> None:
    nothing = np.zeros((1, 8, 8), np.float32)
    found = score_maps(nothing, nothing, [cell_mask(3, 3)], [WHOLE], SIDE).iloc[0]
    assert found["empty"] == 1
    assert found["border_energy"] == found["energy_inside"] == found["pointing_game"] == 0


@given(st.lists(st.sampled_from("abcd"), min_size=2, max_size=12))
def test_the_control_is_of_another_patient(names: list[str]) -> None:
    patients = np.array(names)
    found = other_patients(patients)
    if len(set(names)) > 1:
        assert (patients[found] != patients).all()
    else:
        assert list(found) == list(range(len(names)))
