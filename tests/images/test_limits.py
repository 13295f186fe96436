"""Files that are too large, too elongated or too complex are refused before they are decoded."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from pneumonia.images.decoding import decode
from pneumonia.images.limits import MAX_BYTES, MAX_SCANS, MAX_SEGMENTS, ImageError, check_scans
from tests.conftest import image_bytes
from tests.images.test_damaged import png
from tests.images.test_decoding import saved, smooth_image


def blank_png(width: int, height: int, body: bytes = b"\0") -> bytes:
    """A grey PNG that declares a size and holds other rows."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return png([(b"IHDR", header), (b"IDAT", zlib.compress(body)), (b"IEND", b"")])


def jpeg_of(width: int, height: int) -> bytes:
    """A JPEG that declares a size and holds another."""
    payload = bytearray(image_bytes(smooth_image(40, 40)))
    at = payload.index(b"\xff\xc0")
    payload[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(payload)


def progressive(scans: int, side: int = 48) -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    payload = saved(Image.fromarray(smooth_image(side, side)), "JPEG", progressive=True)
    last = payload.rindex(b"\xff\xda")
    repeats = scans - payload.count(b"\xff\xda")
    return payload[:-2] + payload[last:-2] * repeats + payload[-2:]


@pytest.mark.parametrize(
    ("width", "height", "reason"),
    [
        (8000, 5001, "8000x5001 px: over 40 megapixels"),
        (20000, 20000, "over 40 megapixels"),
        (2**31 - 1, 2**31 - 1, "over 40 megapixels"),
        (2**24, 1, "a side is under 16 px"),
        (40, 15, "40x15 px: a side is under 16 px"),
        (15, 40, "a side is under 16 px"),
        (341, 17, "341x17 px: longer than 20:1"),
        (17, 341, "longer than 20:1"),
    ],
)
def test_a_size_out_of_bounds_is_refused_before_it_is_read(
    width: int, height: int, reason: str
) -> None:
    with pytest.raises(ImageError, match=reason):
        decode(blank_png(width, height), 32)
    if max(width, height) < 2**16:
        with pytest.raises(ImageError, match=reason):
            decode(jpeg_of(width, height), 32)


@pytest.mark.parametrize(("width", "height"), [(16, 16), (340, 17), (17, 340)])
def test_a_size_at_the_bounds_is_read(width: int, height: int) -> None:
    assert decode(blank_png(width, height, bytes(height * (width + 1))), 32).pixels.max() == 0


def test_an_image_of_forty_megapixels_is_read() -> None:
    found = decode(blank_png(8000, 5000, bytes(5000 * 8001)), 32)
    assert (found.width, found.height) == (8000, 5000)


def test_a_file_without_pixels_is_refused() -> None:
    for width, height in ((0, 0), (0, 4), (4, 0)):
        with pytest.raises(ImageError):
            decode(blank_png(width, height), 32)


def test_a_file_over_the_limit_is_refused() -> None:
    with pytest.raises(ImageError, match="64 MiB"):
        decode(b"\xff" * (MAX_BYTES + 1), 32)


def test_a_progressive_jpeg_of_too_many_scans_is_refused() -> None:
    whole = decode(progressive(MAX_SCANS), 32)
    assert whole.pixels.max() > 0
    with pytest.raises(ImageError, match="progressive JPEG of 101 scans"):
        decode(progressive(MAX_SCANS + 1), 32)


def test_a_large_image_may_have_fewer_scans() -> None:
    check_scans(progressive(25), 40_000_000)
    with pytest.raises(ImageError, match="26 scans"):
        check_scans(progressive(26), 40_000_000)


def test_scans_of_a_thumbnail_do_not_count() -> None:
    # Within a segment, as EXIF holds it; and after the end of the image.
    inner = b"\xff\xda" * 20_000
    image = saved(Image.fromarray(smooth_image(40, 40)), "JPEG", comment=inner[:60_000])
    assert decode(image + inner, 32).mode == "L"


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_a_file_of_too_many_segments_is_refused(form: str) -> None:
    payload = image_bytes(smooth_image(40, 40), form)
    # An empty comment; an empty chunk that readers skip.
    empty = b"\xff\xfe\0\2" if form == "JPEG" else b"\0\0\0\0teSt" + zlib.crc32(b"teSt").to_bytes(4)
    at = 2 if form == "JPEG" else 33
    few, many = (payload[:at] + empty * n + payload[at:] for n in (100, MAX_SEGMENTS))
    assert np.array_equal(decode(few, 40).pixels, decode(payload, 40).pixels)
    with pytest.raises(ImageError, match=r"over 20,000 (segments|chunks)"):
        decode(many, 40)


@pytest.mark.parametrize("filler", [b"\xff", b"\xff\0", b"\0"])
def test_a_jpeg_with_too_many_bytes_between_segments_is_refused(filler: bytes) -> None:
    payload = image_bytes(smooth_image(40, 40))
    few, many = (payload[:2] + filler * n + payload[2:] for n in (4, MAX_SEGMENTS + 1))
    if filler != b"\0":  # which Pillow does not skip
        assert decode(few, 40).mode == "L"
    for whole in (many, many[: len(many) // 2]):
        with pytest.raises(ImageError, match="over 20,000 bytes between the segments"):
            decode(whole + filler * MAX_SEGMENTS, 40)


def test_a_reason_is_one_printable_line() -> None:
    assert str(ImageError("a\nb\0c" + "d" * 999)) == "a b?c" + "d" * 195
