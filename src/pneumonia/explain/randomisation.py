"""How alike two heat maps of an image are.

Do the maps depend on what the network learnt? Cascading randomisation (Adebayo et al. 2018).

From the logit down, block by block, weights are put in random order within their tensors, so that
their sizes stay what they were. A map that stays the same was never a map of what was learnt: an
edge detector draws the image, guided gradients nearly so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from pneumonia.core.errors import InputError
from pneumonia.explain.gradcam import Explainer
from pneumonia.inference.overlay import smooth
from pneumonia.models.backbones import blocks

if TYPE_CHECKING:
    import keras


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


def cascade(
    model: keras.Model,
    explain: Explainer,
    images: NDArray[np.uint8],
    strangers: NDArray[np.int64],
    draws: int,
    seed: int,
) -> pd.DataFrame:
    """Compare each image's map with its map after every step of the cascade.

    Args:
        model: has its own weights again afterwards.
        explain: gives maps of `model` as it is when it is called.
        images: uint8, (N, S, S, 1).
        strangers: for each image another patient's, from `truth.strangers`.
        draws: cascades, each with an order of its own.
        seed: of the orders.

    Returns:
        a row a step, in order: `step`, from 0, the network as it was; `down_to`, the last layer
        with weights that was reached; and as means over draws `rank` and `ssim` of an image's own two
        maps, `pair_rank` and `pair_ssim` of its trained map with another image's after the step.
        A rank is that of all images together, without its sign: maps turned over are alike. Maps
        that are mostly even from the start say the same of every network, so all ranks are 1.

    Raises:
        InputError: a map that holds no numbers.
    """
    trained = model.get_weights()
    before = explain(images)
    steps = [[model.get_layer("evidence")], *blocks(model)[::-1]]
    rows = [_row(0, "", before, before, strangers)]
    try:
        for draw in range(draws):
            model.set_weights(trained)
            rng = np.random.default_rng([seed, draw])
            for number, block in enumerate(steps, 1):
                weighed = [layer for layer in block if layer.weights]
                for layer in weighed:
                    weights = layer.get_weights()
                    layer.set_weights(
                        [rng.permutation(w.ravel()).reshape(w.shape) for w in weights]
                    )
                rows.append(_row(number, weighed[0].name, before, explain(images), strangers))
    finally:
        model.set_weights(trained)
    means = pd.DataFrame(rows).groupby(["step", "down_to"], sort=True).mean().reset_index()
    return means.assign(rank=1.0) if even(before).mean() > 0.5 else means


def _row(
    step: int,
    down_to: str,
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    strangers: NDArray[np.int64],
) -> dict[str, object]:
    if not np.isfinite(after).all():
        raise InputError(f"maps with weights in random order down to '{down_to}' hold no numbers")
    other = after[strangers]
    return {
        "step": step,
        "down_to": down_to,
        "rank": abs(rank_correlation(before, after).mean()),
        "ssim": structural_similarity(before, after).mean(),
        "pair_rank": abs(rank_correlation(before, other).mean()),
        "pair_ssim": structural_similarity(before, other).mean(),
    }


def stays_alike(steps: pd.DataFrame) -> float:
    """The highest `rank` that any step of `cascade` leaves, 0 to 1."""
    return float(steps.loc[steps["step"] > 0, "rank"].max())
