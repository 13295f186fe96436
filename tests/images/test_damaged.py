"""Damaged files become a square or an ImageError: no other exception, no crash, no hang."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from pneumonia.images.decoding import decode
from pneumonia.images.limits import ImageError
from tests.conftest import image_bytes
from tests.images.mutations import COUNT, sources
from tests.images.test_decoding import grey, saved
from tests.pipeline.imports import ROOT


def png(chunks: list[tuple[bytes, bytes]]) -> bytes:
    """A PNG file of raw chunks with correct checksums."""
    packed = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def samples() -> list[bytes]:
    """Files of every kind, with the metadata that a parser has to read."""
    image = Image.fromarray(grey(23, 31))
    exif = Image.Exif()
    exif[0x0112], exif[0x010E], exif[0x011A] = 6, "image", 72.0
    return [
        saved(image, "JPEG", exif=exif),
        saved(image.convert("RGB"), "JPEG", progressive=True),
        saved(image.convert("CMYK"), "JPEG"),
        saved(image, "PNG", exif=exif),
        saved(image.convert("P"), "PNG", transparency=3),
        saved(image.convert("RGB"), "PNG", transparency=(1, 2, 3)),
        saved(image.convert("LA"), "PNG"),
        image_bytes(grey(23, 31).astype(np.uint16) * 257, "PNG"),
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


@pytest.mark.parametrize("payload", SAMPLES, ids=range(len(SAMPLES)))
def test_a_file_truncated_anywhere_is_an_image_error_or_a_whole_image(payload: bytes) -> None:
    for end in range(0, len(payload), 5):
        assert_square_or_image_error(payload[:end])


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_truncated_image_is_refused(form: str, share: float) -> None:
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
        with pytest.raises(ImageError, match="not a JPEG, PNG or DICOM image"):
            decode(image_bytes(grey(20, 20), form), 32)


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
        assert_square_or_image_error(image_bytes(grey(20, 20), form, exif=payload))


@given(
    st.sampled_from([b"tRNS", b"eXIf", b"iCCP", b"PLTE", b"pHYs", b"gAMA", b"iTXt", b"zTXt"]),
    st.binary(max_size=12),
    st.sampled_from([0, 2, 3, 4, 6]),
    st.booleans(),
)
def test_broken_png_chunks_give_a_square_or_an_image_error(
    kind: bytes, body: bytes, colour: int, late: bool
) -> None:
    header = struct.pack(">IIBBBBB", 16, 16, 8, colour, 0, 0, 0)
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    data = (b"IDAT", zlib.compress(b"\0" * (16 * (1 + 16 * channels))))
    palette = [(b"PLTE", b"\1\2\3" * 4)] if colour == 3 else []
    middle = [data, (kind, body)] if late else [(kind, body), data]
    assert_square_or_image_error(png([(b"IHDR", header), *palette, *middle, (b"IEND", b"")]))


def test_two_thousand_damaged_files_cause_no_crash_and_need_little_memory() -> None:
    # A separate process, because a codec in C may crash it.
    ran = subprocess.run(
        [sys.executable, "-m", "tests.images.mutations"],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": f"{ROOT / 'src'}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    last_file = ran.stderr.splitlines()[-1:]
    assert ran.returncode == 0, f"ended by {ran.returncode} at {last_file}"
    found = json.loads(ran.stdout)
    assert set(found["counts"]) == set(sources())
    assert sum(sum(counts.values()) for counts in found["counts"].values()) == COUNT
    # Both outcomes must occur: a decoder that refused everything would pass otherwise.
    assert all(
        min(counts.get(k, 0) for k in ("image", "error")) for counts in found["counts"].values()
    )
    assert found["mebibytes"] <= 512
