"""Do the maps depend on what the network learnt? Cascading randomisation (Adebayo et al. 2018).

From the logit down, block by block, the weights are put in random order within their tensors, so
that their magnitudes stay. A map that stays the same does not show what was learnt: an edge
detector draws the image, and guided gradients nearly so.
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


SIDE = 56  # px at which SSIM is computed
TINY = 1e-30
Maps = NDArray[np.float32]


def rank_correlation(first: Maps, second: Maps) -> NDArray[np.float64]:
    """Spearman's correlation of the cells of two maps, for each image.

    It is 0 for a uniform map, which has no order.

    Args:
        first: float32, (N, h, w).
        second: of the same images, (N, h', w'); enlarged to the finer grid where they differ.

    Returns:
        (N,), -1 to 1.
    """
    side = max(first.shape[1], second.shape[1])
    correlations = np.zeros(len(first))
    for row, pair in enumerate(zip(first, second, strict=True)):
        if all(np.ptp(cells) != 0 for cells in pair):
            enlarged = [cells if len(cells) == side else smooth(cells, side) for cells in pair]
            correlations[row] = np.corrcoef([rankdata(cells) for cells in enlarged])[0, 1]
    return correlations


def structural_similarity(first: Maps, second: Maps) -> NDArray[np.float64]:
    """SSIM (Wang et al. 2004, eq. 13) of the enlarged maps, each scaled to its own maximum.

    The maps are float32, (N, h, w) and (N, h', w'); the result is (N,), -1 to 1.
    """
    import tensorflow as tf

    def enlarged(maps: Maps) -> NDArray[np.float32]:
        large = [smooth(cells, SIDE) for cells in maps]
        return np.stack([cells / max(float(cells.max()), TINY) for cells in large])[..., None]

    similarity = tf.image.ssim(enlarged(first), enlarged(second), max_val=1.0)
    return similarity.numpy().astype(np.float64)


def uniform(maps: Maps) -> NDArray[np.bool_]:
    """Which maps are the same everywhere, to within a thousandth: bool, (N,)."""
    highest, lowest = maps.max(axis=(1, 2)), maps.min(axis=(1, 2))
    return highest - lowest <= 1e-3 * np.maximum(np.abs(highest), TINY)


def cascade(
    model: keras.Model, explain: Explainer, images: NDArray[np.uint8], others: NDArray[np.int64],
    draws: int, seed: int,
) -> pd.DataFrame:  # fmt: skip
    """Compare each image's trained map with its map after every step of the cascade.

    Args:
        model: has its own weights again afterwards.
        explain: gives maps of `model` with the weights that it has when called.
        images: uint8, (N, S, S, 1).
        others: for each image another patient's, from `localization.other_patients`.
        draws: number of cascades, each with another random order.

    Returns:
        One row per step, in order: `step`, 0 for the trained network; `down_to`, the last layer
        with weights that was randomised; and, as means over the draws, `rank` and `ssim` between
        the two maps of an image, `pair_rank` and `pair_ssim` between its trained map and another
        image's map after the step. A rank is the absolute value of the mean over images: inverted
        maps are similar. If most trained maps are uniform they are the same for every network, so
        all ranks are 1.

    Raises:
        InputError: a map that is not finite.
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
