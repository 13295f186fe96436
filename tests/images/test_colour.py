"""The coloured share of an image is measured in every mode."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from pneumonia.images.decoding import decode
from tests.conftest import image_bytes
from tests.images.dicom_files import dicom_bytes
from tests.images.test_decoding import MODES, SIDES, grey, image_in_mode, saved, smooth_image

SIZE = 64


def coloured(share: float, side: int = 100) -> NDArray[np.uint8]:
    """A grey image with a share of its columns in red."""
    pixels = np.repeat(smooth_image(side, side)[..., None], 3, axis=2)
    pixels[:, : round(share * side)] = (200, 60, 40)
    return pixels


@pytest.mark.parametrize("mode", MODES)
def test_a_grey_image_has_no_colour_in_any_mode(mode: str) -> None:
    assert decode(image_in_mode(mode, 50, 70), SIZE).colour == 0


@given(SIDES, SIDES, st.integers(0, 9), st.integers(5, 95))
def test_a_grey_image_in_a_colour_jpeg_has_no_colour(
    height: int, width: int, seed: int, quality: int
) -> None:
    pixels = np.repeat(grey(height, width, seed)[..., None], 3, axis=2)
    assert decode(image_bytes(pixels, quality=quality), SIZE).colour == 0


@pytest.mark.parametrize("share", [0.1, 0.3, 0.45])
@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_the_share_in_colour_is_measured(share: float, form: str) -> None:
    found = decode(image_bytes(coloured(share, 200), form), SIZE)
    assert found.colour == pytest.approx(share, abs=0.03)
    assert found.mode == "RGB"


@pytest.mark.parametrize("mode", ["P", "RGBA", "CMYK"])
def test_colour_is_measured_in_other_modes(mode: str) -> None:
    image = Image.fromarray(coloured(0.3))
    image = image.quantize(64) if mode == "P" else image.convert(mode)
    payload = saved(image, "JPEG" if mode == "CMYK" else "PNG")
    assert decode(payload, SIZE).colour == pytest.approx(0.3, abs=0.05)


def test_a_uniform_tint_and_transparent_colour_do_not_count() -> None:
    tinted = np.stack([smooth_image(80, 80) // 4 + add for add in (60, 80, 120)], axis=-1)
    assert decode(image_bytes(tinted.astype(np.uint8), "PNG"), SIZE).colour == 0
    seen = np.dstack([coloured(0.3), np.full((100, 100), 255, np.uint8)])
    seen[:, :30, 3] = 0
    assert decode(image_bytes(seen, "PNG"), SIZE).colour == 0


def test_a_dicom_image_has_no_colour() -> None:
    assert decode(dicom_bytes(smooth_image(40, 40)), SIZE).colour == 0
