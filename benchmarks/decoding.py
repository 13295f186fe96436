"""Compare `decode` with Pillow alone, on the same images.

Rate: `decode`, and with Pillow alone full decoding, conversion to grey and Lanczos resizing to the
same size. Both use all cores and are measured in turns. The ratio matters, not the rates.

Difference: scaled JPEG decoding against full decoding, in grey levels of the square, for several
margins (the decoded image is at least that many times larger than the square). For comparison, the
difference between Lanczos and bicubic resizing of the fully decoded image.

PYTHONPATH=src python benchmarks/decoding.py FOLDER
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pneumonia.images import decoding
from pneumonia.images.decoding import SUFFIXES, decode, inner_size

MARGINS = (1, 2, 3, 4)
FULL = 10**6  # a margin larger than any image: no scaled decoding


def with_decode(size: int, file: Path) -> None:
    """Decode one image as the pipeline does."""
    decode(file.read_bytes(), size)


def with_pillow(size: int, file: Path) -> None:
    """Decode one image with Pillow alone, without limits, orientation and padding."""
    image = Image.open(io.BytesIO(file.read_bytes())).convert("L")
    image.resize(inner_size(*image.size, size), Image.Resampling.LANCZOS)


def difference(size: int, file: Path) -> list[tuple[float, int]]:
    """Mean and largest difference from full decoding by margin; last, bicubic from Lanczos."""
    payload = file.read_bytes()
    squares = [_square(payload, size, margin) for margin in (FULL, *MARGINS)]
    image = Image.open(io.BytesIO(payload)).convert("L")
    inner = inner_size(*image.size, size)
    lanczos, bicubic = (
        np.asarray(image.resize(inner, resampling), int)
        for resampling in (Image.Resampling.LANCZOS, Image.Resampling.BICUBIC)
    )
    differences = [np.abs(square - squares[0]) for square in squares[1:]]
    differences.append(np.abs(lanczos - bicubic))
    return [(float(levels.mean()), int(levels.max())) for levels in differences]


def _square(payload: bytes, size: int, margin: int) -> NDArray[np.int_]:
    decoding.DRAFT_MARGIN = margin
    return decode(payload, size).pixels.astype(int)


def main() -> None:
    """Print data, machine, rates and differences."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "folder",
        nargs="?",
        type=Path,
        default=os.environ.get("CHEST_XRAY_ORIGINALS"),
        help="JPEG and PNG images at original size, also in subfolders (CHEST_XRAY_ORIGINALS)",
    )
    parser.add_argument("--size", type=int, default=224, help="side of the square, px (224)")
    parser.add_argument("--turns", type=int, default=5, help="how often to measure each (5)")
    options = parser.parse_args()
    if options.folder is None or not Path(options.folder).is_dir():
        sys.exit(f"benchmarks/decoding.py: no folder of images: {options.folder}")
    files = [f for f in sorted(Path(options.folder).rglob("*")) if f.suffix.lower() in SUFFIXES]
    if not files:
        sys.exit(f"benchmarks/decoding.py: no image in {options.folder}")
    cores = len(os.sched_getaffinity(0))
    megapixels = statistics.mean(np.prod(Image.open(file).size) / 1e6 for file in files)
    megabytes = sum(file.stat().st_size for file in files) / 1e6
    print(f"{len(files)} images, {megabytes:.1f} MB, {megapixels:.2f} megapixels on average")
    print(f"{cores} cores, {platform.machine()}, Python {platform.python_version()}, to the square")
    print(f"of {options.size} px\n")
    with ProcessPoolExecutor(cores) as pool:
        rates: dict[str, list[float]] = {"decode": [], "Pillow": []}
        functions = {"decode": with_decode, "Pillow": with_pillow}
        list(pool.map(partial(with_decode, options.size), files, chunksize=8))  # warms up
        for _ in range(options.turns):
            for name, function in functions.items():
                start = time.perf_counter()
                list(pool.map(partial(function, options.size), files, chunksize=8))
                rates[name].append(len(files) / (time.perf_counter() - start))
        rows = list(pool.map(partial(difference, options.size), files, chunksize=8))
    for name, values in rates.items():
        print(f"{name:12} {statistics.median(values):7.1f} images/s")
    ratios = [a / b for a, b in zip(*rates.values(), strict=True)]
    print(
        f"ratio        {statistics.median(ratios):7.2f} ({min(ratios):.2f} to {max(ratios):.2f})\n"
    )
    print("grey levels, over all images:  mean   largest mean of an image   largest")
    names = [f"scaled decoding, margin {margin}" for margin in MARGINS] + [
        "Lanczos against bicubic"
    ]
    for name, of_images in zip(names, zip(*rows, strict=True), strict=True):
        means, largest = zip(*of_images, strict=True)
        print(f"{name:28} {statistics.mean(means):5.3f} {max(means):24.3f} {max(largest):9}")


if __name__ == "__main__":
    main()
