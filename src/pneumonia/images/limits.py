"""Limits of an image file, checked before any of its pixels are decoded.

Within these limits a file takes less than 512 MiB of memory, whatever it declares, and about two
seconds; a JPEG 2000 file with 40 megapixels of noise takes ten seconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

MAX_BYTES = 64 * 2**20
MAX_PIXELS = 40_000_000  # the largest detectors give about 20 million
MAX_RATIO = 20  # longer side to shorter
MIN_SIDE = 16  # px; a smaller image shows nothing
MAX_SCANS = 100  # of a progressive JPEG; encoders write about ten
# Every scan visits all pixels again: at 40 megapixels this allows 25 scans.
MAX_SCANNED_PIXELS = 1_000_000_000
# JPEG segments, bytes between them, or PNG chunks; Pillow reads them one by one. A PNG of 64 MiB in
# IDAT chunks of 8 KiB has 8,192.
MAX_SEGMENTS = 20_000

START_OF_SCAN = 0xDA
END_OF_IMAGE = 0xD9
_WITHOUT_LENGTH = (0x01, 0xD8)
# In entropy-coded data a stuffed zero or a restart marker follows 0xFF (ITU-T T.81, B.1.1.2).
_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])", re.DOTALL)
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"


class ImageError(ValueError):
    """The bytes are not a usable image; one line says why, without the name of the file.

    Attributes:
        code: the kind of reason: corrupt_image, empty_file, not_an_image, not_a_radiograph,
            too_complex, too_elongated, too_large, too_small or unsupported_dicom. If the code
            begins with "too", the reason repeats nothing of the file but numbers.
    """

    def __init__(self, reason: str, code: str = "corrupt_image") -> None:
        self.code = code
        # The reason may contain text from a damaged file.
        line = " ".join(reason.split())
        super().__init__("".join(c if c.isprintable() else "?" for c in line)[:200])


def check_bytes(payload: bytes) -> None:
    """Raise an ImageError for a file of 0 bytes or over 64 MiB."""
    if not payload:
        raise ImageError("the file is empty (0 bytes)", "empty_file")
    if len(payload) > MAX_BYTES:
        raise ImageError(f"the file is over {MAX_BYTES // 2**20} MiB", "too_large")


def check_size(width: int, height: int, max_pixels: int = MAX_PIXELS) -> None:
    """Check the declared size of an image, px.

    Raises:
        ImageError: over `max_pixels` or 40 megapixels, a side under 16 px, or longer than 20:1.
    """
    size = f"{width}x{height} px"
    limit = min(max_pixels, MAX_PIXELS)
    if width * height > limit:
        raise ImageError(f"{size}: over {limit / 10**6:g} megapixels", "too_large")
    if min(width, height) < MIN_SIDE:
        raise ImageError(f"{size}: a side is under {MIN_SIDE} px", "too_small")
    if max(width, height) > MAX_RATIO * min(width, height):
        raise ImageError(f"{size}: longer than {MAX_RATIO}:1", "too_elongated")


def check_segments(payload: bytes) -> None:
    """Refuse a JPEG or PNG file that Pillow would parse for minutes; other files pass.

    Raises:
        ImageError: over 20,000 chunks of a PNG; or, before the first scan of a JPEG, over 20,000
            segments or bytes between segments.
    """
    if payload.startswith(_PNG):
        position = len(_PNG)
        for _ in range(MAX_SEGMENTS):
            if position >= len(payload):
                return
            position += 12 + int.from_bytes(payload[position : position + 4])
        raise ImageError(f"over {MAX_SEGMENTS:,} chunks", "too_complex")
    if payload.startswith(_JPEG):
        end = skipped = 2
        for marker, start in jpeg_segments(payload):
            skipped += start - 2 - end
            if marker == START_OF_SCAN:
                break
            length = int.from_bytes(payload[start : start + 2])
            end = start + length * (marker not in _WITHOUT_LENGTH)
        else:
            skipped += len(payload) - end
        if skipped > MAX_SEGMENTS:
            reason = f"over {MAX_SEGMENTS:,} bytes between the segments of a JPEG"
            raise ImageError(reason, "too_complex")


def check_scans(payload: bytes, pixels: int) -> None:
    """Refuse a JPEG whose scans, of so many pixels each, would take too long; other files pass.

    Raises:
        ImageError: over 100 scans, over 1,000 million pixels in all scans, or over 20,000 segments.
    """
    if not payload.startswith(_JPEG):
        return
    scans = sum(marker == START_OF_SCAN for marker, _ in jpeg_segments(payload))
    if scans > MAX_SCANS or scans * pixels > MAX_SCANNED_PIXELS:
        reason = f"a progressive JPEG of {scans} scans: too many for its size"
        raise ImageError(reason, "too_complex")


def jpeg_segments(payload: bytes) -> Iterator[tuple[int, int]]:
    """Yield each marker of a JPEG file up to end of image, with the offset of the byte after it.

    Like libjpeg, skips bytes that are not a marker (ITU-T T.81, annex B).

    Raises:
        ImageError: over 20,000 segments.
    """
    position = 2
    for _ in range(MAX_SEGMENTS):
        match = _MARKER.search(payload, position)
        if match is None:
            return
        marker, position = match[1][0], match.end()
        yield marker, position
        if marker == END_OF_IMAGE:
            return
        if marker not in _WITHOUT_LENGTH:
            position += int.from_bytes(payload[position : position + 2])
    raise ImageError(f"over {MAX_SEGMENTS:,} segments", "too_complex")
