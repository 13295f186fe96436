"""Limits for image files; the program checks them before it decodes any pixel.

A file within these limits needs less than 512 MiB of memory, whatever its header says, and about
two seconds. Only a JPEG 2000 file with 40 megapixels of noise takes ten seconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

MAX_BYTES = 64 * 2**20
MAX_PIXELS = 40_000_000  # the largest detectors give about 20 million
MAX_RATIO = 20  # longer side divided by shorter side
MIN_SIDE = 16  # px; a smaller image shows nothing
MAX_SCANS = 100  # scans in a progressive JPEG; encoders write about ten
# Every scan goes through all pixels again. An image of 40 megapixels may have 25 scans.
MAX_SCANNED_PIXELS = 1_000_000_000
# The most JPEG segments, bytes between segments, or PNG chunks: Pillow reads them one by one. A PNG
# of 64 MiB in chunks of 8 KiB has 8,192 chunks.
MAX_SEGMENTS = 20_000

START_OF_SCAN = 0xDA
END_OF_IMAGE = 0xD9
_WITHOUT_LENGTH = (0x01, 0xD8)
# Skip 0xFF in compressed data: there a 0 or a restart marker follows it (ITU-T T.81, B.1.1.2).
_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])", re.DOTALL)
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"


class ImageError(ValueError):
    """The bytes are not a usable image; the message gives the reason in one line, without a name.

    Attributes:
        code: the kind of reason: corrupt_image, empty_file, not_an_image, not_a_radiograph,
            too_complex, too_elongated, too_large, too_small or unsupported_dicom. If the code
            begins with "too", the message repeats nothing from the file except numbers.
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
    """Check the width and height that a file declares, px.

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
    """Refuse a JPEG or PNG file that Pillow would parse for minutes; accept other files.

    Raises:
        ImageError: a PNG has over 20,000 chunks; or a JPEG has, before its first scan, over 20,000
            segments or over 20,000 bytes between segments.
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
    """Refuse a JPEG whose scans, each of `pixels` pixels, would take too long; accept other files.

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
    """Yield each marker of a JPEG file, with the position of the next byte, until end of image.

    Bytes that are not a marker are skipped, as in libjpeg (ITU-T T.81, annex B).

    Raises:
        ImageError: the file has over 20,000 segments.
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
