"""The fast PNG encoder loses nothing."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pneumonia.inference.overlay import encode_png_fast

MODES = {(): "L", (3,): "RGB", (4,): "RGBA"}


@given(st.integers(0, 2**31), st.integers(1, 40), st.integers(1, 40), st.sampled_from([*MODES]))
def test_every_pixel_is_read_back(
    seed: int, height: int, width: int, channels: tuple[int, ...]
) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, *channels), np.uint8)
    with Image.open(io.BytesIO(encode_png_fast(pixels))) as image:
        assert image.mode == MODES[channels]
        assert image.size == (width, height)
        assert image.info == {}
        assert np.array_equal(np.asarray(image), pixels)
    # A single wrong check sum, which Pillow may pass over, is found here.
    with Image.open(io.BytesIO(encode_png_fast(pixels))) as image:
        image.verify()


def test_a_view_of_a_larger_array_is_written() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 4), np.uint8)[2:, ::2, :3]
    with Image.open(io.BytesIO(encode_png_fast(pixels))) as image:
        assert np.array_equal(np.asarray(image), pixels)


@pytest.mark.parametrize("shape", [(4, 4, 2), (4, 4, 5)])
def test_other_numbers_of_channels_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(KeyError):
        encode_png_fast(np.zeros(shape, np.uint8))
