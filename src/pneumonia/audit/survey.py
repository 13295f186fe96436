"""One pass over the prepared images: what the audit's searches and the figures need of each.

Keeps a few kB an image instead of the image, so that memory does not grow with the pictures.
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

from pneumonia.core.errors import InputError
from pneumonia.datasets.manifest import image_path
from pneumonia.images.decoding import read_grey

HASH_SIDE = 16
HASH_BITS = HASH_SIDE**2
THUMBNAIL = 32  # px; the smallest side that `prepare` makes
GREY_STEP = 4  # grey values that share a bin of the histograms
_CHUNK = 256  # images read ahead; bounds the memory


@dataclass(frozen=True)
class Survey:
    """Of N images of side S, in the order of the manifest.

    Attributes:
        hashes: bool, (N, 256), perceptual hash.
        thumbnails: uint8, (N, 32, 32), means over areas.
        frames: float32, (N, F), the border; see `border`.
        histograms: int64, (N, 64), pixels by grey value in steps of 4.
        means: float64, (2, S, S), the mean image of each label.
    """

    hashes: NDArray[np.bool_]
    thumbnails: NDArray[np.uint8]
    frames: NDArray[np.float32]
    histograms: NDArray[np.int64]
    means: NDArray[np.float64]


def survey(table: pd.DataFrame, folder: Path) -> Survey:
    """Look once at every image of a prepared folder whose manifest is `table`.

    Raises:
        InputError: an image is missing, unreadable or of another size than the first.
    """
    paths = [image_path(folder, image_id) for image_id in table["image_id"]]
    labels = table["label"].to_numpy()
    try:
        side = read_grey(paths[0]).shape[0]
        sums = np.zeros((2, side, side), np.int64)
        looks = []
        # Threads: Pillow and SciPy let go of the interpreter while they decode and transform.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for start in tqdm(
                range(0, len(paths), _CHUNK), desc="visualize", mininterval=1, disable=None
            ):
                chunk = slice(start, start + _CHUNK)
                for label, (pixels, *look) in zip(
                    labels[chunk], pool.map(_look, paths[chunk]), strict=True
                ):
                    sums[label] += pixels
                    looks.append(look)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: {error}; `dvc repro -f prepare` makes it anew") from None
    hashes, thumbnails, frames, histograms = (np.stack(kind) for kind in zip(*looks, strict=True))
    images = np.maximum(np.bincount(labels, minlength=2), 1)
    return Survey(hashes, thumbnails, frames, histograms, sums / images[:, None, None])


def perceptual_hash(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """DCT hash of an image: bool, (256,).

    The signs of the 16x16 lowest frequencies of a 64x64 thumbnail about their median (pHash, Zauner
    2010, as in the library imagehash). 64 bits, the usual size, do not tell chest X-rays apart: two
    children lie as close as an image and its copy cropped by 2 %.
    """
    return imagehash.phash(Image.fromarray(pixels), hash_size=HASH_SIDE).hash.ravel()


def border(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The outer 8 px of an image of 224 px, and as much of another size, as means of 4x4 px cells.

    Args:
        pixels: uint8, (S, S).

    Returns:
        float32, (432,): no anatomy that matters lies there, but markers, collimation and padding.
    """
    cells = _area_means(pixels, 56)
    frame = np.ones(cells.shape, bool)
    frame[2:-2, 2:-2] = False
    return cells[frame]


def _look(path: Path) -> tuple[NDArray[np.generic], ...]:
    pixels = read_grey(path)
    thumbnail = Image.fromarray(pixels).resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    grey = np.bincount(pixels.ravel(), minlength=256).reshape(-1, GREY_STEP).sum(axis=1)
    return pixels, perceptual_hash(pixels), np.asarray(thumbnail), border(pixels), grey


def _area_means(pixels: NDArray[np.uint8], side: int) -> NDArray[np.float32]:
    image = Image.fromarray(pixels.astype(np.float32))
    return np.asarray(image.resize((side, side), Image.Resampling.BOX), dtype=np.float32)
