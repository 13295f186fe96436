"""How alike two heat maps of an image are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from pneumonia.explain.overlay import smooth

SIDE = 56  # at which structure is compared, px
TINY = 1e-30
Maps = NDArray[np.float32]


def rank_correlation(ours: Maps, theirs: Maps) -> NDArray[np.float64]:
    """Spearman's correlation of the cells, image by image.

    A map that is even everywhere orders nothing: 0.

    Args:
        ours: float32, (N, h, w).
        theirs: of the same images, (N, h', w'); enlarged to the finer grid where they differ.

    Returns:
        (N,), -1 to 1.
    """
    side = max(ours.shape[1], theirs.shape[1])
    found = []
    for one, other in zip(ours, theirs, strict=True):
        if np.ptp(one) == 0 or np.ptp(other) == 0:
            found.append(0.0)
            continue
        cells = [map_ if len(map_) == side else smooth(map_, side) for map_ in (one, other)]
        ranks = [rankdata(map_) for map_ in cells]
        found.append(float(np.corrcoef(ranks)[0, 1]))
    return np.array(found)


def structural_similarity(ours: Maps, theirs: Maps) -> NDArray[np.float64]:
    """SSIM (Wang et al. 2004, eq. 13) of the enlarged maps, each on a scale of its own.

    Args:
        ours: float32, (N, h, w).
        theirs: of the same images, (N, h', w').

    Returns:
        (N,), -1 to 1.
    """
    import tensorflow as tf

    drawn = [np.stack([_drawn(map_) for map_ in maps])[..., None] for maps in (ours, theirs)]
    return tf.image.ssim(*drawn, max_val=1.0).numpy().astype(np.float64)


def _drawn(heat_map: NDArray[np.float32]) -> NDArray[np.float32]:
    enlarged = smooth(heat_map, SIDE)
    return enlarged / max(float(enlarged.max()), TINY)


def even(maps: Maps) -> NDArray[np.bool_]:
    """Which maps are the same everywhere, but for rounding and less than a thousandth: (N,)."""
    highest, lowest = maps.max(axis=(1, 2)), maps.min(axis=(1, 2))
    return highest - lowest <= 1e-3 * np.maximum(np.abs(highest), TINY)
