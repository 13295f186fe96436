"""An image of any size, depth and colour becomes the same grey square."""

from __future__ import annotations

import io
import zlib

import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from pneumonia.datasets.phantom import draw
from pneumonia.images.decoding import decode, encode_png, image_box, square_mask
from tests.conftest import image_bytes

SIDES = st.integers(16, 90)
SIZES = st.integers(32, 80)
MODES = ("L", "RGB", "RGBA", "P", "1", "LA", "I;16", "CMYK")


def grey(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)


def smooth_image(height: int, width: int) -> NDArray[np.uint8]:
    """Brighter to the right and the bottom, so that no two orientations are equal."""
    down, right = np.mgrid[0 : 1 : complex(height), 0 : 1 : complex(width)]
    return (40 + 120 * right + 60 * down).astype(np.uint8)


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=form, **options)
    return buffer.getvalue()


def image_in_mode(mode: str, height: int, width: int) -> bytes:
    pixels = smooth_image(height, width)
    if mode == "I;16":
        return image_bytes(pixels.astype(np.uint16) * 257, "PNG")
    return saved(Image.fromarray(pixels).convert(mode), "JPEG" if mode == "CMYK" else "PNG")


@given(st.sampled_from(MODES), SIDES, SIDES, SIZES)
def test_any_size_in_any_mode_becomes_a_grey_square(
    mode: str, height: int, width: int, size: int
) -> None:
    image = decode(image_in_mode(mode, height, width), size)
    assert image.pixels.shape == (size, size)
    assert image.pixels.dtype == np.uint8
    assert (image.width, image.height, image.mode) == (width, height, mode)


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "1"])
def test_the_same_image_in_any_mode_gives_nearly_the_same_square(mode: str) -> None:
    expected = decode(image_in_mode("L", 60, 60), 60).pixels.astype(int)
    found = decode(image_in_mode(mode, 60, 60), 60).pixels.astype(int)
    # Only a palette of 256 colours and JPEG may round.
    assert np.abs(found - expected).max() <= {"P": 12, "CMYK": 6}.get(mode, 0)


def test_black_and_white_stays_so() -> None:
    pixels = np.tile([0, 255], (40, 20)).astype(np.uint8)
    payload = saved(Image.fromarray(pixels).convert("1"), "PNG")
    assert np.array_equal(decode(payload, 40).pixels, pixels)


@given(SIZES, st.integers(0, 2**31), st.integers(16, 120), st.integers(16, 120))
def test_a_prepared_square_decodes_to_itself(size: int, seed: int, height: int, width: int) -> None:
    square = decode(image_bytes(grey(height, width, seed), "PNG"), size).pixels
    assert np.array_equal(decode(encode_png(square), size).pixels, square)


@given(st.integers(20, 200), st.integers(20, 200), SIZES)
def test_padding_is_black_centred_and_keeps_the_aspect(height: int, width: int, size: int) -> None:
    white = np.full((height, width), 255, np.uint8)
    pixels = decode(image_bytes(white, "PNG"), size).pixels
    side = max(height, width)
    assert set(np.unique(pixels)) <= {
        0,
        255,
    }  # the edge of the image is not blended with the padding
    lit = pixels >= 128
    # Bright rows and columns form one centred rectangle of the proportions of the source.
    for axis, length in ((1, height), (0, width)):
        line = lit.any(axis=axis)
        first, last = line.argmax(), size - 1 - line[::-1].argmax()
        assert line[first : last + 1].all()
        assert last - first + 1 == pytest.approx(size * length / side, abs=1.5)
        assert abs(int(first) - int(size - 1 - last)) <= 2
    assert lit[np.ix_(lit.any(axis=1), lit.any(axis=0))].all()
    assert pixels[size // 2, size // 2] >= 230  # the filter rings a little
    bar = int(size * (1 - height / side) / 2) - 4
    if bar > 0:
        assert pixels[:bar].max() == 0
        assert pixels[-bar:].max() == 0


@given(SIDES, SIDES, st.integers(0, 2**31))
def test_grey_stored_as_colour_gives_the_same_square(height: int, width: int, seed: int) -> None:
    image = Image.fromarray(grey(height, width, seed))
    plain = decode(saved(image, "JPEG"), 64).pixels.astype(int)
    colour = decode(saved(image.convert("RGB"), "JPEG"), 64).pixels.astype(int)
    assert np.abs(plain - colour).max() <= 1


def test_colour_becomes_luma() -> None:
    pixels = np.zeros((32, 96, 3), np.uint8)
    for channel in range(3):
        pixels[:, 32 * channel : 32 * channel + 32, channel] = 255
    square = decode(image_bytes(pixels, "PNG"), 96).pixels
    assert [square[48, 16 + 32 * band] for band in range(3)] == pytest.approx([76, 150, 29], abs=1)


def test_sixteen_bits_keep_their_range() -> None:
    deep = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    assert np.array_equal(decode(image_bytes(deep, "PNG"), 256).pixels, deep >> 8)


def test_a_transparent_part_is_black() -> None:
    pixels = np.full((40, 40, 4), 255, np.uint8)
    pixels[:, :20, 3] = 0
    square = decode(image_bytes(pixels, "PNG"), 40).pixels
    assert square[:, :20].max() == 0
    assert square[:, 20:].min() == 255


# The EXIF orientation, and how a viewer must turn the stored pixels.
ORIENTATIONS = {
    1: lambda image: image,
    2: np.fliplr,
    3: lambda image: np.rot90(image, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda image: np.rot90(image, -1),
    7: lambda image: np.rot90(image, 2).T,
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_exif_orientation_is_applied(form: str, orientation: int) -> None:
    stored, exif = smooth_image(40, 64), Image.Exif()
    exif[0x0112] = orientation
    upright = np.ascontiguousarray(ORIENTATIONS[orientation](stored))
    found = decode(image_bytes(stored, form, exif=exif), 64)
    expected = decode(image_bytes(upright, "PNG"), 64).pixels.astype(int)
    assert (found.height, found.width) == upright.shape
    assert np.abs(found.pixels.astype(int) - expected).max() <= (0 if form == "PNG" else 4)


@given(st.sampled_from(list(ORIENTATIONS)), SIDES, SIDES, SIZES)
def test_exif_orientation_equals_turning_the_image(
    orientation: int, height: int, width: int, size: int
) -> None:
    stored, exif = smooth_image(height, width), Image.Exif()
    exif[0x0112] = orientation
    upright = np.ascontiguousarray(ORIENTATIONS[orientation](stored))
    found = decode(image_bytes(stored, "PNG", exif=exif), size)
    expected = decode(image_bytes(upright, "PNG"), size).pixels
    assert (found.height, found.width) == upright.shape
    # An odd column of padding is always on the right; rows and columns are resized one after the
    # other, with rounding in between.
    shown = slice(size // 4, -size // 4)
    assert np.abs(found.pixels.astype(int) - expected)[shown, shown].max() <= 4


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_scaled_decoding_of_a_large_jpeg_changes_next_to_nothing(
    mode: str, orientation: int
) -> None:
    # Not a multiple of the block of 8, nor of the scales.
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(smooth_image(605, 909))
    stored = saved(image.convert(mode), "JPEG", quality=95, exif=exif)
    upright = ORIENTATIONS[orientation](np.asarray(image))
    found = decode(stored, 64)
    expected = decode(image_bytes(np.ascontiguousarray(upright), "PNG"), 64).pixels
    assert (found.height, found.width) == upright.shape
    assert found.mode == mode
    assert np.abs(found.pixels.astype(int) - expected).max() <= 4


def test_scaled_decoding_does_not_shift_the_image() -> None:
    # A bright disc in the dark keeps its centre to a tenth of a pixel of the square.
    down, right = np.mgrid[0:601, 0:907]
    disc = (255 * ((down - 200.0) ** 2 + (right - 700.0) ** 2 < 120**2)).astype(np.uint8)
    centres = []
    for form in ("JPEG", "PNG"):
        shown = decode(image_bytes(disc, form), 100).pixels.astype(float)
        weights = shown / shown.sum()
        rows, columns = np.mgrid[0:100, 0:100]
        centres.append([(rows * weights).sum(), (columns * weights).sum()])
    assert np.abs(np.subtract(*centres)).max() < 0.02


@given(SIDES, SIDES, SIZES, st.integers(0, 255), st.sampled_from(MODES))
def test_a_constant_image_stays_constant(
    height: int, width: int, size: int, level: int, mode: str
) -> None:
    level = 255 * (level // 128) if mode == "1" else level
    pixels = np.full((height, width), level, np.uint8)
    if mode == "I;16":
        payload = image_bytes(pixels.astype(np.uint16) * 257, "PNG")
    else:
        form = "JPEG" if mode == "CMYK" else "PNG"
        payload = saved(Image.fromarray(pixels).convert(mode), form)
    shown = decode(payload, size).pixels
    rows, columns = (np.flatnonzero(shown.any(axis=axis)) for axis in (1, 0))
    if len(rows):
        image = shown[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert np.unique(image).size == 1
    assert abs(int(shown[size // 2, size // 2]) - level) <= (3 if mode in ("P", "CMYK") else 0)


@pytest.mark.parametrize("space", ["CMYK", "YCCK"])
def test_cmyk_as_adobe_writes_it(space: str) -> None:
    pixels = smooth_image(60, 60)
    inks = np.repeat((255 - pixels)[..., None], 4, axis=2)
    inks[..., 3] = 0
    # Adobe stores inverted values.
    payload = imagecodecs.jpeg8_encode(255 - inks, level=95, colorspace="CMYK", outcolorspace=space)
    found = decode(payload, 60)
    assert found.mode == "CMYK"
    assert np.abs(found.pixels.astype(int) - pixels).max() <= 6


def test_a_16_bit_level_may_be_transparent() -> None:
    deep = np.full((40, 40), 40_000, np.uint16)
    deep[:, :20] = 50_000
    shown = decode(saved(Image.fromarray(deep), "PNG", transparency=50_000), 40).pixels
    assert shown[:, :20].max() == 0
    assert shown[:, 20:].min() == 40_000 >> 8


@given(SIDES, SIDES, SIZES)
def test_a_mask_covers_the_same_place_as_in_its_image(height: int, width: int, size: int) -> None:
    mask = np.zeros((height, width), bool)
    mask[: (height + 1) // 2, : (width + 1) // 2] = True
    image = decode(image_bytes(mask.astype(np.uint8) * 255, "PNG"), size).pixels >= 128
    found = square_mask(mask, size)
    assert found.shape == (size, size)
    assert found.dtype == np.bool_
    assert (found != image).mean() < 0.05


@pytest.mark.parametrize("size", [32, 64, 128])
def test_a_mask_neither_grows_nor_shrinks_with_its_size(size: int) -> None:
    half = np.zeros((64, 64), bool)
    half[:, :32] = True
    found = square_mask(half, size)
    assert found[:, : size // 2].all()
    assert not found[:, size // 2 :].any()


@pytest.mark.parametrize("strategy", [zlib.Z_FILTERED, zlib.Z_RLE])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_an_encoded_array_reads_back_as_it_was(shape: tuple[int, ...], strategy: int) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    payload = encode_png(pixels, strategy)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(payload))), pixels)
    assert payload == encode_png(pixels.copy(), strategy)


def test_the_bytes_of_a_phantom_image_are_those_of_pillow() -> None:
    # The image_id is a hash of these bytes, and images are trained on in the order of their ids.
    pixels = draw(7, 0).pixels
    assert encode_png(pixels) == saved(Image.fromarray(pixels), "PNG", compress_level=4)


@given(SIDES, SIDES, SIZES)
def test_the_box_of_an_image_holds_the_whole_image_and_nothing_else(
    height: int, width: int, size: int
) -> None:
    image = decode(image_bytes(np.full((height, width), 255, np.uint8), "PNG"), size).pixels
    box = image_box(width, height, size)
    assert (image[box] == 255).all()
    outside = np.ones(image.shape, bool)
    outside[box] = False
    assert (image[outside] == 0).all()
