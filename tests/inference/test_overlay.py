"""A heat map is drawn on a fixed scale and leaves the image readable."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pneumonia.inference.overlay import colour, heat_layer, heat_scale, overlay, smooth

IMAGE = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
HOTTEST = (252, 255, 164)


def test_the_colours_are_close_to_matplotlibs_inferno() -> None:
    values = np.linspace(0, 1, 256)
    reference = matplotlib.colormaps["inferno"](values)[:, :3] * 255
    difference = np.abs(colour(values) - reference)
    # Nine straight pieces stand for 256 steps.
    assert difference.max() < 17
    assert difference.mean() < 2.5


def test_the_colours_keep_the_shape_and_get_lighter() -> None:
    colours = colour(np.linspace(0, 1, 200).reshape(20, 10))
    assert colours.shape == (20, 10, 3)
    assert colours.dtype == np.uint8
    luma = colours.reshape(-1, 3) @ np.array([0.299, 0.587, 0.114])
    assert (np.diff(luma) >= -0.6).all()
    assert tuple(colours[-1, -1]) == HOTTEST


def test_a_map_of_zeros_leaves_the_image_as_it_is() -> None:
    drawn = overlay(IMAGE, np.zeros((7, 7), np.float32), scale=1.0)
    assert drawn.dtype == np.uint8
    assert np.array_equal(drawn, np.repeat(IMAGE[..., None], 3, axis=2))


@pytest.mark.parametrize("opacity", [0.1, 0.6, 1.0])
@pytest.mark.parametrize("value", [2.0, 500.0])
def test_at_and_over_the_scale_the_hottest_colour_shows_at_full_opacity(
    value: float, opacity: float
) -> None:
    drawn = overlay(IMAGE, np.full((4, 4), value, np.float32), scale=2.0, opacity=opacity)
    expected = (1 - opacity) * IMAGE[..., None] + opacity * np.array(HOTTEST)
    assert np.abs(drawn - expected).max() <= 0.51


@given(st.floats(0.01, 100), st.integers(0, 2**31))
def test_only_the_ratio_to_the_scale_counts(factor: float, seed: int) -> None:
    heat = np.random.default_rng(seed).random((5, 6)).astype(np.float32)
    first = overlay(IMAGE, heat, scale=0.7).astype(int)
    second = overlay(IMAGE, (heat * factor).astype(np.float32), scale=0.7 * factor)
    assert np.abs(first - second).max() <= 1


def test_a_fainter_map_looks_fainter() -> None:
    heat = np.random.default_rng(1).random((7, 7)).astype(np.float32)
    plain = overlay(IMAGE, 0 * heat, scale=1.0).astype(int)
    changes = [
        np.abs(overlay(IMAGE, share * heat, scale=1.0) - plain).mean() for share in (0.1, 0.4, 1.0)
    ]
    assert changes[0] < changes[1] < changes[2]


def test_enlarging_keeps_place_and_level() -> None:
    heat = np.zeros((4, 4), np.float32)
    heat[0, 3] = 1
    large = smooth(heat, 64)
    assert large.shape == (64, 64)
    assert large.dtype == np.float32
    assert large.min() == 0
    row, column = np.unravel_index(large.argmax(), large.shape)
    assert row < 16
    assert column >= 48
    assert smooth(np.full((3, 5), 2.5, np.float32), 32) == pytest.approx(2.5, rel=1e-6)


@given(st.integers(1, 16), st.integers(1, 16), st.integers(0, 2**31))
def test_enlarging_is_pillows(height: int, width: int, seed: int) -> None:
    heat = np.random.default_rng(seed).random((height, width)).astype(np.float32)
    expected = np.asarray(Image.fromarray(heat).resize((96, 96), Image.Resampling.BICUBIC))
    assert smooth(heat, 96) == pytest.approx(np.maximum(expected, 0), abs=1e-6)


@given(st.integers(0, 2**31))
def test_the_layer_over_the_image_is_the_overlay(seed: int) -> None:
    heat = np.random.default_rng(seed).random((7, 7)).astype(np.float32) * 2
    layer = heat_layer(heat, 1.5, 64)
    assert layer.shape == (64, 64, 4)
    alpha = layer[..., 3:] / 255 * 0.6
    laid = (1 - alpha) * IMAGE[..., None] + alpha * layer[..., :3]
    assert np.abs(laid - overlay(IMAGE, heat, 1.5, 0.6)).max() <= 1


def test_the_cells_are_drawn_as_they_are() -> None:
    heat = np.arange(49, dtype=np.float32).reshape(7, 7)
    layer = heat_layer(heat, 48, 56, cells=True)
    assert (layer[..., 3] == 255).all()
    assert np.array_equal(layer[::8, ::8], layer[7::8, 7::8])
    # The map is drawn in 255 steps, of which half a one is 0.9 of a colour, which is rounded.
    assert np.abs(layer[::8, ::8, :3] - colour(heat / 48).astype(int)).max() <= 2


def test_the_scale_is_the_median_of_the_hottest_cells() -> None:
    maps = np.zeros((3, 2, 2), np.float32)
    maps[:, 0, 0] = 1, 5, 2
    assert heat_scale(maps) == 2
    assert heat_scale(np.zeros((3, 2, 2), np.float32)) == 1
