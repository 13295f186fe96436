"""Does the logit depend on the places that the maps mark? (ROAD, Rong et al. 2022)

The hottest parts of an image are removed and filled with grey from their surroundings, so that the
filled shape does not show which parts were removed. The fall of the logit is compared with the fall
for three controls: the image's edges, another image's map, and a random map.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import sobel
from scipy.sparse import coo_array
from scipy.sparse.linalg import spsolve

from pneumonia.inference.overlay import smooth

SHARES = (0.2, 0.4, 0.6, 0.8)
# Side of the grid of removed cells: finer than any map, but small enough for fast equations.
CELLS = 56
NOISE = 0.01  # standard deviation of the noise in filled cells, share of the grey range
# Neighbours of a cell and their weights (section 4.2); diagonal neighbours have half the weight.
_NEIGHBOURS = [
    (down, right, 1 / 6 if 0 in (down, right) else 1 / 12)
    for down in (-1, 0, 1)
    for right in (-1, 0, 1)
    if (down, right) != (0, 0)
]
Logits = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def removed_by(order: NDArray[np.floating], share: float) -> NDArray[np.bool_]:
    """Choose this `share` of the cells, with the highest values of `order`: bool, same shape.

    Among equal cells, the first cells are chosen.
    """
    removed = np.zeros(order.shape, bool)
    removed.flat[np.argsort(-order, axis=None, kind="stable")[: round(share * order.size)]] = True
    return removed


def fill(
    image: NDArray[np.uint8], removed: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Fill all removed cells with the weighted mean of their neighbours and some noise.

    Args:
        image: uint8, (S, S).
        removed: whether each cell is removed, bool, (c, c); not all cells may be True.
        rng: the source of the noise.

    Returns:
        The filled image, uint8, (S, S); pixels outside the removed cells are unchanged.
    """
    size = image.shape
    small = np.asarray(Image.fromarray(image).resize(removed.shape, Image.Resampling.BOX), float)
    small[removed] = _solve(small, removed)
    small[removed] += rng.normal(0, NOISE * 255, int(removed.sum()))
    filled = Image.fromarray(small.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
    mask = Image.fromarray(removed).resize(size, Image.Resampling.NEAREST)
    grey = np.clip(np.asarray(filled).round(), 0, 255).astype(np.uint8)
    return np.where(np.asarray(mask), grey, image)


def _solve(values: NDArray[np.float64], unknown: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Solve for the K unknown cells, each the weighted mean of its neighbours: (K,)."""
    side, count = len(values), int(unknown.sum())
    number = np.full(values.shape, -1)
    number[unknown] = np.arange(count)
    cells = np.argwhere(unknown)
    totals, known = np.zeros(count), np.zeros(count)
    entries: list[tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]] = []
    for down, right, weight in _NEIGHBOURS:
        neighbours = cells + np.array([down, right])
        inside = np.flatnonzero(((neighbours >= 0) & (neighbours < side)).all(axis=1))
        at = tuple(neighbours[inside].T)
        totals[inside] += weight
        solved = number[at] >= 0  # the neighbour is unknown, too
        known[inside[~solved]] += weight * values[at][~solved]
        entries.append((np.full(solved.sum(), -weight), inside[solved], number[at][solved]))
    entries.append((totals, np.arange(count), np.arange(count)))
    data, rows, columns = (np.concatenate(part) for part in zip(*entries, strict=True))
    system = coo_array((data, (rows, columns)), shape=(count, count)).tocsr()
    return np.atleast_1d(spsolve(system, known))


def falls(
    logits: Logits, images: NDArray[np.uint8], orders: dict[str, NDArray[np.float32]], seed: int
) -> dict[str, dict[float, NDArray[np.float64]]]:
    """Compute the fall of each image's logit after the first cells of each order are removed.

    Args:
        images: uint8, (N, S, S, 1).
        orders: maps (N, h, w) by name; the hottest cells of a map are removed first.
        seed: the seed of the noise in the filled cells.

    Returns:
        The falls, (N,), by name and removed share: the image's logit minus the changed one's logit.
    """
    before = logits(images)
    by_order: dict[str, dict[float, NDArray[np.float64]]] = {}
    for name, maps in orders.items():
        fine = [smooth(cells, CELLS) for cells in maps]
        by_order[name] = {}
        for share in SHARES:
            rng = np.random.default_rng([seed, round(100 * share)])
            filled = [fill(image[..., 0], removed_by(order, share), rng)
                      for image, order in zip(images, fine, strict=True)]  # fmt: skip
            after = logits(np.stack(filled)[..., None])
            by_order[name][share] = (before - after).astype(np.float64)
    return by_order


def edges(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The Sobel gradients of images (N, S, S, 1) on the cells: float32, (N, CELLS, CELLS)."""
    gradients = []
    for image in images[..., 0].astype(np.float32):
        gradient = np.hypot(sobel(image, axis=0), sobel(image, axis=1))
        small = Image.fromarray(gradient).resize((CELLS, CELLS), Image.Resampling.BOX)
        gradients.append(np.asarray(small))
    return np.stack(gradients)


def random_maps(maps: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """Make random maps with the same shape as `maps`: float32, (N, h, w)."""
    return np.random.default_rng(seed).random(maps.shape, dtype=np.float32)
