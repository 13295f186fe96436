"""Do the maps depend on what the network learnt? Cascading randomisation (Adebayo et al. 2018).

From the logit down, block by block, the weights are put in random order within their tensors, so
that their magnitudes stay. A map that does not change does not show what the network learnt. An
edge detector is an example: its map depends only on the image. Guided gradients are similar.
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


SIDE = 56  # side of the maps for SSIM, px
TINY = 1e-30
Maps = NDArray[np.float32]


def rank_correlation(first: Maps, second: Maps) -> NDArray[np.float64]:
    """Spearman's correlation between the cells of two maps, for each image.

    The correlation is 0 if a map is uniform, because its cells have no order.

    Args:
        first: maps, float32, (N, h, w).
        second: maps of the same images, (N, h', w'); the coarser maps are enlarged to the finer.

    Returns:
        The correlations, (N,), -1 to 1.
    """
    side = max(first.shape[1], second.shape[1])
    correlations = np.zeros(len(first))
    for row, pair in enumerate(zip(first, second, strict=True)):
        if all(np.ptp(cells) != 0 for cells in pair):
            enlarged = [cells if len(cells) == side else smooth(cells, side) for cells in pair]
            correlations[row] = np.corrcoef([rankdata(cells) for cells in enlarged])[0, 1]
    return correlations


def structural_similarity(first: Maps, second: Maps) -> NDArray[np.float64]:
    """SSIM (Wang et al. 2004, eq. 13) of the enlarged maps, each divided by its own maximum.

    The maps are float32, (N, h, w) and (N, h', w'); the result is (N,), -1 to 1.
    """
    import tensorflow as tf

    def enlarged(maps: Maps) -> NDArray[np.float32]:
        large = [smooth(cells, SIDE) for cells in maps]
        return np.stack([cells / max(float(cells.max()), TINY) for cells in large])[..., None]

    similarity = tf.image.ssim(enlarged(first), enlarged(second), max_val=1.0)
    return similarity.numpy().astype(np.float64)


def uniform(maps: Maps) -> NDArray[np.bool_]:
    """Whether a map's values differ by at most a thousandth, for each map: bool, (N,)."""
    highest, lowest = maps.max(axis=(1, 2)), maps.min(axis=(1, 2))
    return highest - lowest <= 1e-3 * np.maximum(np.abs(highest), TINY)


def cascade(
    model: keras.Model, explain: Explainer, images: NDArray[np.uint8], others: NDArray[np.int64],
    draws: int, seed: int,
) -> pd.DataFrame:  # fmt: skip
    """Compare each image's trained map with its map after every step of the cascade.

    Args:
        model: the trained network; it gets its own weights back at the end.
        explain: computes maps with the current weights of `model`.
        images: uint8, (N, S, S, 1).
        others: row of another patient's image, from `localization.other_patients`.
        draws: number of cascades; each has a different random order.

    Returns:
        One row per step: `step`, 0 for the trained network; `down_to`, the last randomised layer;
        and four means over the draws. `rank` and `ssim` compare an image's trained map with its map
        after the step. `pair_rank` and `pair_ssim` compare it with another image's map after the
        step. A rank is the absolute value of the mean over images, because inverted maps are
        similar. Uniform maps are the same for every network, so if most trained maps are uniform,
        all ranks are 1.

    Raises:
        InputError: a map is not finite.
    """
    trained = model.get_weights()
    before = explain(images)
    steps = [[model.get_layer("evidence")], *blocks(model)[::-1]]
    rows = [_row(0, "", before, before, others)]
    try:
        for draw in range(draws):
            model.set_weights(trained)
            rng = np.random.default_rng([seed, draw])
            for number, block in enumerate(steps, 1):
                with_weights = [layer for layer in block if layer.weights]
                for layer in with_weights:
                    weights = layer.get_weights()
                    layer.set_weights(
                        [rng.permutation(w.ravel()).reshape(w.shape) for w in weights]
                    )
                rows.append(_row(number, with_weights[0].name, before, explain(images), others))
    finally:
        model.set_weights(trained)
    means = pd.DataFrame(rows).groupby(["step", "down_to"], sort=True).mean().reset_index()
    return means.assign(rank=1.0) if uniform(before).mean() > 0.5 else means


def _row(
    step: int, down_to: str, before: Maps, after: Maps, others: NDArray[np.int64]
) -> dict[str, object]:
    if not np.isfinite(after).all():
        raise InputError(f"maps with weights in random order down to '{down_to}' are not finite")
    other = after[others]
    return {
        "step": step,
        "down_to": down_to,
        "rank": abs(rank_correlation(before, after).mean()),
        "ssim": structural_similarity(before, after).mean(),
        "pair_rank": abs(rank_correlation(before, other).mean()),
        "pair_ssim": structural_similarity(before, other).mean(),
    }


def highest_rank(steps: pd.DataFrame) -> float:
    """The highest `rank` after any step of `cascade`, 0 to 1."""
    return float(steps.loc[steps["step"] > 0, "rank"].max())
