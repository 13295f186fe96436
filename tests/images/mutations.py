"""Decode damaged image files in a separate process: `python -m` this module.

Prints JSON: how many gave an image and how many an ImageError by kind of file, and the largest
resident memory. A file that computes for over two seconds ends the process with SIGPROF; the name
of the file at work is then the last line on stderr.
"""

from __future__ import annotations

import json
import signal
import sys
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from pneumonia.images.decoding import decode
from pneumonia.images.limits import ImageError
from tests.conftest import image_bytes
from tests.images.dicom_files import COMPRESSED, dicom_bytes

COUNT = 2000
SIZE = 64
LIMIT = 2  # seconds a file
PNG = b"\x89PNG\r\n\x1a\n"
SIDES = (0, 1, 15, 17, 4096, 6325, 20000, 65535)


def sources() -> dict[str, bytes]:
    """An undamaged file of every kind: 61x83 px, smooth with some noise."""
    down, right = np.mgrid[0:61, 0:83]
    noise = np.random.default_rng(0).integers(0, 9, (61, 83))
    grey = (down + 2 * right + noise).astype(np.uint8)
    deep = grey.astype(np.uint16) * 16
    colour = np.asarray(Image.fromarray(grey).convert("RGB"))
    exif = Image.Exif()
    exif[0x0112] = 6
    files = {
        "JPEG": image_bytes(grey, "JPEG", exif=exif),
        "colour JPEG": image_bytes(colour, "JPEG"),
        "progressive JPEG": image_bytes(colour, "JPEG", progressive=True),
        "PNG": image_bytes(grey, "PNG", exif=exif),
        "16-bit PNG": image_bytes(deep * 16, "PNG"),
        "DICOM": dicom_bytes(deep, BitsStored=12, WindowCenter="900", WindowWidth="1500"),
    }
    for name, syntax in COMPRESSED.items():
        pixels, bits = (grey, 8) if name == "JPEG baseline" else (deep, 12)
        files[f"DICOM {name}"] = dicom_bytes(pixels, syntax, BitsStored=bits)
    return files


def mutations(count: int = COUNT, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Damaged files, each with its kind; the kinds take turns."""
    files = sources()
    others = [*files.values(), b"GIF89a" + bytes(60), b"PK\3\4" + bytes(60), b"<html>" * 30]
    random = np.random.default_rng(seed)
    for number in range(count):
        kind = list(files)[number % len(files)]
        yield kind, _damaged(files[kind], others, random)


def _damaged(payload: bytes, others: list[bytes], random: np.random.Generator) -> bytes:
    damaged = bytearray(payload)
    ways = ("cut", "flip", "early flips", "overwrite", "drop", "repeat", "splice", "sides")
    way = random.choice(ways)
    at, end = np.sort(random.integers(0, len(damaged), 2))
    if way == "cut":
        del damaged[at:]
    elif way in ("flip", "early flips"):
        # Headers are at the beginning, in DICOM after the preamble.
        first, last = (0, len(damaged)) if way == "flip" else (0, 700)
        for place in random.integers(first, min(last, len(damaged)), random.integers(1, 20)):
            damaged[place] ^= 1 << random.integers(8)
    elif way == "overwrite":
        damaged[at : at + 8] = random.bytes(8)
    elif way == "drop":
        del damaged[at : min(end, at + 64)]
    elif way == "repeat":
        damaged[at:at] = damaged[at:end]
    elif way == "splice":
        # Like a file of the wrong kind, or one joined from two files.
        damaged[at:] = others[random.integers(len(others))][at if at % 2 else 0 :]
    else:
        _declare_sides(damaged, random)
    if damaged.startswith(PNG) and random.random() < 0.7:
        _correct_checksums(damaged)
    return bytes(damaged)


def _declare_sides(damaged: bytearray, random: np.random.Generator) -> None:
    """Declare another size than the pixels have."""
    for side in (61, 83):
        wide, value = random.choice((2, 4)), int(random.choice(SIDES))
        for order in ("big", "little"):
            old = side.to_bytes(wide, order)
            place = damaged.find(old)
            if place >= 0:
                damaged[place : place + wide] = value.to_bytes(wide, order)


def _correct_checksums(damaged: bytearray) -> None:
    """Correct a PNG's checksums, because a decoder stops at a wrong one."""
    at = len(PNG)
    while at + 12 <= len(damaged):
        end = at + 8 + int.from_bytes(damaged[at : at + 4])
        damaged[end : end + 4] = zlib.crc32(damaged[at + 4 : end]).to_bytes(4)
        at = end + 4


def main() -> None:
    """Decode them all and count."""
    seed, count = (int(word) for word in sys.argv[1:3]) if len(sys.argv) > 2 else (0, COUNT)
    counts: dict[str, Counter[str]] = {}
    for number, (kind, payload) in enumerate(mutations(count, seed)):
        print(f"{number} {kind}", file=sys.stderr)
        signal.setitimer(signal.ITIMER_PROF, LIMIT)
        try:
            image = decode(payload, SIZE)
            assert image.pixels.shape == (SIZE, SIZE)
            assert image.pixels.dtype == np.uint8
            outcome = "image"
        except ImageError as error:
            assert str(error)
            assert str(error).isprintable()
            outcome = "error"
        signal.setitimer(signal.ITIMER_PROF, 0)
        counts.setdefault(kind, Counter())[outcome] += 1
    # Not ru_maxrss: a process inherits that from its parent.
    status = Path("/proc/self/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
    print(json.dumps({"counts": counts, "mebibytes": peak}))


if __name__ == "__main__":
    main()
