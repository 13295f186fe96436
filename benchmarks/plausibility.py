"""How often warnings are raised, for unsuitable images and for good ones.

The statistics are fitted to train and val of a prepared folder, as `evaluate` does. Then these
images are checked: the test images as they are and under each shift of
`pneumonia.evaluation.shifts`; test images that are turned, inverted, cropped or cut into shuffled
tiles; drawings; photographs from scikit-learn and matplotlib, and from further folders. Prints a
row for each kind, in percent of its images.

`not a chest X-ray` and `inverted or turned` exclude each other; `exposure` is counted separately.

PYTHONPATH=src:. python benchmarks/plausibility.py --data data/prepared
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import numpy as np
import sklearn
from numpy.typing import NDArray
from PIL import Image

from pneumonia.datasets.manifest import load_images, read_manifest
from pneumonia.evaluation.shifts import SHIFTS, STRENGTHS, shifted
from pneumonia.images.decoding import DecodedImage, decode, encode_png
from pneumonia.images.limits import ImageError
from pneumonia.inference.plausibility import IMAGES, Plausibility, fit
from pneumonia.inference.warnings import warn
from tests.inference.drawings import DRAWINGS

ROOT = Path(__file__).parents[1]
CHANGED = 200  # number of test images that are changed
DRAWN = 40  # drawings of each kind
Squares = list[NDArray[np.uint8]]


def photographs(folders: list[Path], size: int) -> Squares:
    """Grey squares of the photographs in folders and libraries, each whole and in ten crops.

    They are grey, so that colour does not identify them.
    """
    bundled = [
        Path(sklearn.__file__).parent / "datasets/images",
        Path(matplotlib.__file__).parent / "mpl-data/sample_data",
    ]
    photos = []
    rng = np.random.default_rng(0)
    for folder in (*bundled, *folders):
        for file in sorted(folder.glob("*.jp*g")) + sorted(folder.glob("*.png")):
            try:
                decode(file.read_bytes(), size)
            except ImageError:
                continue
            whole = np.asarray(Image.open(file).convert("RGB").convert("L"))
            photos.append(whole)
            side = min(whole.shape) * 2 // 3
            for _ in range(10):
                top, left = (rng.integers(0, length - side + 1) for length in whole.shape)
                photos.append(whole[top : top + side, left : left + side])
    return [_square(photo, size) for photo in photos]


def changed(images: NDArray[np.uint8]) -> Iterator[tuple[str, Squares]]:
    """Test images, uint8, (N, S, S), changed so that they should raise a warning, by kind."""
    side = images.shape[1]
    rng = np.random.default_rng(0)
    yield "inverted", [255 - image for image in images]
    yield "turned a quarter, left", list(np.rot90(images, 1, (1, 2)))
    yield "turned a quarter, right", list(np.rot90(images, -1, (1, 2)))
    yield "turned by 180 degrees", list(np.rot90(images, 2, (1, 2)))
    yield "upside down", list(images[:, ::-1])
    yield "mirrored", list(images[:, :, ::-1])
    for share in (0.8, 0.6, 0.5, 0.33):
        crop = round(share * side)
        corners = rng.integers(0, side - crop + 1, (len(images), 2))
        yield (
            f"crop of {share:.0%} of the side",
            [
                _square(image[top : top + crop, left : left + crop], side)
                for image, (top, left) in zip(images, corners, strict=True)
            ],
        )
    tile = side // 4
    tiles = images[:, : 4 * tile, : 4 * tile].reshape(-1, 4, tile, 4, tile).swapaxes(2, 3)
    shuffled = rng.permuted(tiles.reshape(len(images), 16, -1), axis=1)
    joined = shuffled.reshape(-1, 4, 4, tile, tile).swapaxes(2, 3)
    yield "shuffled tiles", list(joined.reshape(-1, 4 * tile, 4 * tile))
    noise = [rng.normal(image.mean(), image.std(), image.shape) for image in images]
    yield "noise with its mean and spread", [np.clip(one, 0, 255).astype(np.uint8) for one in noise]


def row(name: str, squares: Squares, statistics: Plausibility) -> None:
    """Print the percentage of squares with each warning."""
    codes = [
        {
            warning.code
            for warning in warn(b"", DecodedImage(square, *square.shape, "L"), statistics)
        }
        for square in squares
    ]
    shares = [
        sum(bool(kind & of_image) for of_image in codes) / len(codes)
        for kind in ({"not_a_chest_xray"}, {"inverted", "turned"}, {"exposure"})
    ]
    print(
        f"| {name} | {len(codes)} | " + " | ".join(f"{100 * share:.1f}" for share in shares) + " |"
    )


def _square(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    return decode(encode_png(image), size).pixels


def main() -> None:
    """Fit the statistics and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=ROOT / "data/prepared", help="prepared folder")
    parser.add_argument(
        "--images", type=Path, nargs="*", default=[], help="folders with other X-rays"
    )
    parser.add_argument(
        "--photographs", type=Path, nargs="*", default=[], help="further folders with photographs"
    )
    options = parser.parse_args()
    table = read_manifest(options.data)
    splits = {name: load_images(options.data, table[table["split"] == name].head(IMAGES))
              for name in ("train", "val", "test")}  # fmt: skip
    begin = time.perf_counter()
    statistics = fit(splits["train"], splits["val"], shifted)
    print(f"fitted to {len(splits['train'])} and {len(splits['val'])} images "
          f"in {time.perf_counter() - begin:.0f} s")  # fmt: skip
    test = splits["test"]
    some, size = test[:CHANGED], test.shape[1]
    begin = time.perf_counter()
    for image in test[..., 0]:
        statistics.judge(image)
    print(f"{1000 * (time.perf_counter() - begin) / len(test):.2f} ms per image\n")
    print("| images | number | not a chest X-ray | inverted or turned | exposure |")
    print("| --- | --- | --- | --- | --- |")
    row("test images", list(test[..., 0]), statistics)
    for folder in options.images:
        files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
        row("other images", [decode(file.read_bytes(), size).pixels for file in files], statistics)
    ids = [str(number) for number in range(len(some))]
    for strength in STRENGTHS:
        for shift in (name for name, spec in SHIFTS.items() if strength in spec.amounts):
            if shift != "inversion":
                changed_images = shifted(some, ids, shift, strength, seed=1)
                row(f"{shift}, {strength}", list(changed_images[..., 0]), statistics)
    for name, squares in changed(some[..., 0]):
        row(name, squares, statistics)
    for name, draw in DRAWINGS.items():
        drawn = [_square(draw(np.random.default_rng(seed)), size) for seed in range(DRAWN)]
        row(f"drawn: {name}", drawn, statistics)
    row("photographs and crops of them", photographs(options.photographs, size), statistics)


if __name__ == "__main__":
    main()
