"""Measure every prepared image once, for the audit and its figures.

To save memory, only a few kB of measures are kept for each image, not the image.
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
GREY_STEP = 4  # number of grey values in one bin of a histogram
_CHUNK = 256  # images in memory at a time


@dataclass(frozen=True)
class Survey:
    """The measures of N images with side S px, in the order of the manifest."""

    hashes: NDArray[np.bool_]  #: bool, (N, 256), perceptual hashes
    thumbnails: NDArray[np.uint8]  #: uint8, (N, 32, 32), small copies made of area means
    frames: NDArray[np.float32]  #: float32, (N, 432), the borders; see `border`
    histograms: NDArray[np.int64]  #: int64, (N, 64), number of pixels in each bin of 4 greys
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
        # Threads are enough, because Pillow and SciPy release the interpreter lock.
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
    """Compute the perceptual hash of an image (pHash, Zauner 2010): bool, (256,).

    Each bit says whether one of the 16x16 lowest frequencies of a 64x64 thumbnail is above their
    median. The usual 64 bits are too few for chest X-rays: images of two children are as close as
    an image and its copy cropped by 2 %.
    """
    return imagehash.phash(Image.fromarray(pixels), hash_size=HASH_SIDE).hash.ravel()


def border(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The border of an image as the means of 432 square cells, float32, (432,).

    In an image of 224 px the border is 8 px wide and a cell has 4x4 px; other sizes are scaled. The
    border has no relevant anatomy, but may have markers, collimation and padding.
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
