"""Drawn chest X-rays as `decode` gives them, and statistics fitted to some of them."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from pneumonia.datasets import phantom
from pneumonia.evaluation.shifts import shifted
from pneumonia.images.decoding import decode, encode_png
from pneumonia.inference.plausibility import Plausibility, fit

SIZE = 128  # px; the suite's medium loss of resolution leaves 64, twice the thumbnail's side
TRAIN, VALIDATION, HELD_OUT = slice(0, 200), slice(200, 250), slice(250, 290)


@cache
def images() -> NDArray[np.uint8]:
    """290 images, uint8, (290, 128, 128); do not modify."""
    drawn = [phantom.draw(7, index, SIZE).pixels for index in range(HELD_OUT.stop)]
    return np.stack([decode(encode_png(pixels), SIZE).pixels for pixels in drawn])


def held_out() -> NDArray[np.uint8]:
    """Images that are not in the statistics, uint8, (40, 128, 128)."""
    return images()[HELD_OUT]


@cache
def fitted() -> Plausibility:
    """Statistics of the other images."""
    squares = images()[..., None]
    return fit(squares[TRAIN], squares[VALIDATION], shifted)
