"""One pass over the prepared images, with all that the audit and its figures need of each.

It keeps a few kB an image, not the image, to save memory.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import imagehash
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from pneumonia.datasets.manifest import image_path, reading
from pneumonia.images.decoding import read_grey

HASH_SIDE = 16
HASH_BITS = HASH_SIDE**2
THUMBNAIL = 32  # px; the smallest side that `prepare` makes
GREY_STEP = 4  # grey values in a bin of the histograms
_CHUNK = 256  # images in memory at a time


@dataclass(frozen=True)
class Survey:
    """Measures of N images of side S, in the order of the manifest."""

    hashes: NDArray[np.bool_]  #: bool, (N, 256), perceptual hashes
    thumbnails: NDArray[np.uint8]  #: uint8, (N, 32, 32), area means
    frames: NDArray[np.float32]  #: float32, (N, 432), the borders; see `border`
    histograms: NDArray[np.int64]  #: int64, (N, 64), pixels by grey value in steps of 4
    means: NDArray[np.float64]  #: float64, (2, S, S), the mean image of each label


def survey(table: pd.DataFrame, folder: Path) -> Survey:
    """Measure every image of a prepared folder with the manifest `table`.

    Raises:
        InputError: an image is missing, unreadable or of another size than the first.
    """
    paths = [image_path(folder, image_id) for image_id in table["image_id"]]
    labels = table["label"].to_numpy()
    with reading(folder):
        side = read_grey(paths[0]).shape[0]
        sums = np.zeros((2, side, side), np.int64)
        rows = []
        # Threads, because Pillow and SciPy release the interpreter lock.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for start in tqdm(
                range(0, len(paths), _CHUNK), desc="visualize", mininterval=1, disable=None
            ):
                chunk = slice(start, start + _CHUNK)
                for label, (pixels, *row) in zip(
                    labels[chunk], pool.map(_measure, paths[chunk]), strict=True
                ):
                    sums[label] += pixels
                    rows.append(row)
    hashes, thumbnails, frames, histograms = (np.stack(part) for part in zip(*rows, strict=True))
    images = np.maximum(np.bincount(labels, minlength=2), 1)
    return Survey(hashes, thumbnails, frames, histograms, sums / images[:, None, None])


def perceptual_hash(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Perceptual hash of an image: bool, (256,).

    Whether each of the 16x16 lowest frequencies of a 64x64 thumbnail is above their median (pHash,
    Zauner 2010). The usual 64 bits do not distinguish chest X-rays: two children are as close as an
    image and its copy cropped by 2 %.
    """
    return imagehash.phash(Image.fromarray(pixels), hash_size=HASH_SIDE).hash.ravel()


def border(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The outer 8 px of an image of 224 px, or the same share of another size, in 4x4 px cells.

    There is no relevant anatomy there, but markers, collimation and padding. Returns the means of
    the cells, float32, (432,).
    """
    image = Image.fromarray(pixels.astype(np.float32))
    cells = np.asarray(image.resize((56, 56), Image.Resampling.BOX), dtype=np.float32)
    frame = np.ones(cells.shape, bool)
    frame[2:-2, 2:-2] = False
    return cells[frame]


def _measure(path: Path) -> tuple[NDArray[np.generic], ...]:
    pixels = read_grey(path)
    thumbnail = Image.fromarray(pixels).resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    grey = np.bincount(pixels.ravel(), minlength=256).reshape(-1, GREY_STEP).sum(axis=1)
    return pixels, perceptual_hash(pixels), np.asarray(thumbnail), border(pixels), grey
