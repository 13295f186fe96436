"""Whatever is handed in becomes a grey square, or an ImageError that says why."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from pneumonia.data.image import MAX_BYTES, ImageError, decode, encode_png, square_mask
from tests.conftest import image_bytes

SIDES = st.integers(1, 90)
SIZES = st.integers(32, 80)
MODES = ("L", "RGB", "RGBA", "P", "1", "LA", "I;16", "CMYK")


def grey(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)


def smooth_film(height: int, width: int) -> NDArray[np.uint8]:
    """Brighter to the right and the bottom: no two orientations are alike."""
    down, right = np.mgrid[0 : 1 : complex(height), 0 : 1 : complex(width)]
    return (40 + 120 * right + 60 * down).astype(np.uint8)


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=form, **options)
    return buffer.getvalue()


def film_in_mode(mode: str, height: int, width: int) -> bytes:
    pixels = smooth_film(height, width)
    if mode == "I;16":
        return image_bytes(pixels.astype(np.uint16) * 257, "PNG")
    return saved(Image.fromarray(pixels).convert(mode), "JPEG" if mode == "CMYK" else "PNG")


def png(chunks: list[tuple[bytes, bytes]]) -> bytes:
    """A PNG file of raw chunks with correct checksums."""
    packed = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def blank_png(width: int, height: int, body: bytes | None = None) -> bytes:
    """A black one-channel PNG that declares a size."""
    rows = b"\0" * ((width + 1) * height) if body is None else body
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return png([(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")])


def samples() -> list[bytes]:
    """Files of every kind, with the metadata that a parser has to read."""
    film = Image.fromarray(grey(13, 21))
    exif = Image.Exif()
    exif[0x0112], exif[0x010E], exif[0x011A] = 6, "film", 72.0
    return [
        saved(film, "JPEG", exif=exif),
        saved(film.convert("RGB"), "JPEG", progressive=True),
        saved(film.convert("CMYK"), "JPEG"),
        saved(film, "PNG", exif=exif),
        saved(film.convert("P"), "PNG", transparency=3),
        saved(film.convert("RGB"), "PNG", transparency=(1, 2, 3)),
        saved(film.convert("LA"), "PNG"),
        image_bytes(grey(13, 21).astype(np.uint16) * 257, "PNG"),
    ]


SAMPLES = samples()


def assert_square_or_image_error(payload: bytes) -> None:
    try:
        image = decode(payload, 32)
    except ImageError as error:
        assert str(error)
    else:
        assert image.pixels.shape == (32, 32)
        assert image.pixels.dtype == np.uint8


@given(st.sampled_from(MODES), SIDES, SIDES, SIZES)
def test_any_size_in_any_mode_becomes_a_grey_square(
    mode: str, height: int, width: int, size: int
) -> None:
    image = decode(film_in_mode(mode, height, width), size)
    assert image.pixels.shape == (size, size)
    assert image.pixels.dtype == np.uint8
    assert (image.width, image.height, image.mode) == (width, height, mode)


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "1"])
def test_the_same_film_in_any_mode_gives_nearly_the_same_square(mode: str) -> None:
    expected = decode(film_in_mode("L", 60, 60), 60).pixels.astype(int)
    found = decode(film_in_mode(mode, 60, 60), 60).pixels.astype(int)
    # A palette of 256 colours and JPEG round; nothing else may.
    assert np.abs(found - expected).max() <= {"P": 12, "CMYK": 6}.get(mode, 0)


def test_black_and_white_stays_so() -> None:
    pixels = np.tile([0, 255], (40, 20)).astype(np.uint8)
    payload = saved(Image.fromarray(pixels).convert("1"), "PNG")
    assert np.array_equal(decode(payload, 40).pixels, pixels)


@given(SIZES, st.integers(0, 2**31), st.integers(1, 120), st.integers(1, 120))
def test_a_prepared_square_decodes_to_itself(size: int, seed: int, height: int, width: int) -> None:
    square = decode(image_bytes(grey(height, width, seed), "PNG"), size).pixels
    assert np.array_equal(decode(encode_png(square), size).pixels, square)


@given(st.integers(20, 200), st.integers(20, 200), SIZES)
def test_padding_is_black_centred_and_keeps_the_aspect(height: int, width: int, size: int) -> None:
    white = np.full((height, width), 255, np.uint8)
    pixels = decode(image_bytes(white, "PNG"), size).pixels
    side = max(height, width)
    lit = pixels >= 128
    # Lit rows and columns form one centred rectangle of the source's proportions.
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
    film = Image.fromarray(grey(height, width, seed))
    plain = decode(saved(film, "JPEG"), 64).pixels.astype(int)
    colour = decode(saved(film.convert("RGB"), "JPEG"), 64).pixels.astype(int)
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


# The EXIF orientation, and what a viewer must do to the stored pixels.
ORIENTATIONS = {
    1: lambda film: film,
    2: np.fliplr,
    3: lambda film: np.rot90(film, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda film: np.rot90(film, -1),
    7: lambda film: np.rot90(film, 2).T,
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_exif_orientation_is_applied(form: str, orientation: int) -> None:
    stored, exif = smooth_film(40, 64), Image.Exif()
    exif[0x0112] = orientation
    upright = np.ascontiguousarray(ORIENTATIONS[orientation](stored))
    found = decode(image_bytes(stored, form, exif=exif), 64)
    expected = decode(image_bytes(upright, "PNG"), 64).pixels.astype(int)
    assert (found.height, found.width) == upright.shape
    assert np.abs(found.pixels.astype(int) - expected).max() <= (0 if form == "PNG" else 4)


@pytest.mark.parametrize("payload", SAMPLES, ids=range(len(SAMPLES)))
def test_a_file_truncated_anywhere_is_an_image_error_or_a_whole_film(payload: bytes) -> None:
    for end in range(0, len(payload), 5):
        assert_square_or_image_error(payload[:end])


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_truncated_film_is_refused(form: str, share: float) -> None:
    payload = image_bytes(grey(64, 64), form)
    with pytest.raises(ImageError, match="truncated or corrupt"):
        decode(payload[: int(share * len(payload))], 64)


@given(st.binary(max_size=300))
@example(b"no image at all, but text")
@example(b"GIF89a" + b"\0" * 40)
@example(b"\xff\xd8\xff")
@example(b"\x89PNG\r\n\x1a\n")
def test_other_bytes_are_refused(payload: bytes) -> None:
    with pytest.raises(ImageError):
        decode(payload, 32)


def test_an_empty_file_says_so() -> None:
    with pytest.raises(ImageError, match="empty"):
        decode(b"", 32)


def test_another_image_format_is_refused() -> None:
    for form in ("GIF", "BMP", "TIFF"):
        with pytest.raises(ImageError, match="not a JPEG or PNG"):
            decode(image_bytes(grey(8, 8), form), 32)


@given(
    st.sampled_from(SAMPLES),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=4),
    st.floats(0.3, 1),
)
def test_damaged_files_give_a_square_or_an_image_error(
    payload: bytes, changes: list[tuple[float, int]], kept: float
) -> None:
    damaged = bytearray(payload)
    for place, value in changes:
        damaged[int(place * len(damaged))] = value
    assert_square_or_image_error(bytes(damaged[: int(kept * len(damaged))]))


@given(st.binary(max_size=40), st.sampled_from(["JPEG", "PNG"]))
@example(b"Exif\0\0II*\0", "JPEG")
@example(b"Exif\0\0MM\0*\0\0", "PNG")
@example(b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0", "JPEG")
def test_broken_metadata_gives_a_square_or_an_image_error(exif: bytes, form: str) -> None:
    for payload in (exif, b"Exif\0\0" + exif, b"Exif\0\0II*\0\x08\0\0\0" + exif):
        assert_square_or_image_error(image_bytes(grey(8, 8), form, exif=payload))


@given(
    st.sampled_from([b"tRNS", b"eXIf", b"iCCP", b"PLTE", b"pHYs", b"gAMA", b"iTXt", b"zTXt"]),
    st.binary(max_size=12),
    st.sampled_from([0, 2, 3, 4, 6]),
    st.booleans(),
)
def test_broken_png_chunks_give_a_square_or_an_image_error(
    kind: bytes, body: bytes, colour: int, late: bool
) -> None:
    header = struct.pack(">IIBBBBB", 4, 4, 8, colour, 0, 0, 0)
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    data = (b"IDAT", zlib.compress(b"\0" * (4 * (1 + 4 * channels))))
    palette = [(b"PLTE", b"\1\2\3" * 4)] if colour == 3 else []
    middle = [data, (kind, body)] if late else [(kind, body), data]
    assert_square_or_image_error(png([(b"IHDR", header), *palette, *middle, (b"IEND", b"")]))


@pytest.mark.parametrize(("width", "height"), [(8001, 8000), (20000, 20000), (2**31 - 1, 1)])
def test_a_huge_declared_size_is_refused_before_it_is_read(width: int, height: int) -> None:
    with pytest.raises(ImageError, match="a side is over 8,000 px"):
        decode(blank_png(width, height, b"\0"), 32)


def test_a_strip_whose_square_would_be_huge_is_refused() -> None:
    with pytest.raises(ImageError):
        decode(blank_png(8200, 2), 32)


def test_a_file_without_pixels_is_refused() -> None:
    for width, height in ((0, 0), (0, 4), (4, 0)):
        with pytest.raises(ImageError):
            decode(blank_png(width, height), 32)


def test_a_file_over_the_limit_is_refused() -> None:
    with pytest.raises(ImageError, match="64 MiB"):
        decode(b"\xff" * (MAX_BYTES + 1), 32)


@given(SIDES, SIDES, SIZES)
def test_a_mask_lies_where_its_film_lies(height: int, width: int, size: int) -> None:
    mask = np.zeros((height, width), bool)
    mask[: (height + 1) // 2, : (width + 1) // 2] = True
    film = decode(image_bytes(mask.astype(np.uint8) * 255, "PNG"), size).pixels >= 128
    found = square_mask(mask, size)
    assert found.shape == (size, size)
    assert found.dtype == np.bool_
    assert (found != film).mean() < 0.05


@pytest.mark.parametrize("size", [32, 64, 128])
def test_a_mask_neither_grows_nor_shrinks_with_its_size(size: int) -> None:
    half = np.zeros((64, 64), bool)
    half[:, :32] = True
    found = square_mask(half, size)
    assert found[:, : size // 2].all()
    assert not found[:, size // 2 :].any()


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_an_encoded_array_reads_back_as_it_was(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    payload = encode_png(pixels)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(payload))), pixels)
    assert payload == encode_png(pixels.copy())
