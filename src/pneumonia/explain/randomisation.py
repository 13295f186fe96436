"""Do the maps depend on what the network learnt? Cascading randomisation (Adebayo et al. 2018).

From the logit down, block by block, weights are put in random order within their tensors, so that
their sizes stay what they were. A map that stays the same was never a map of what was learnt: an
edge detector draws the film, guided gradients nearly so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumonia.explain.gradcam import Explainer
from pneumonia.explain.similarity import other_films, rank_correlation, structural_similarity
from pneumonia.models.blocks import blocks

if TYPE_CHECKING:
    import keras


def cascade(
    model: keras.Model, explain: Explainer, films: NDArray[np.uint8], draws: int, seed: int
) -> pd.DataFrame:
    """Compare each film's map with its map after every step of the cascade.

    Args:
        model: in random order afterwards.
        explain: gives maps of `model` as it is when it is called.
        films: uint8, (N, S, S, 1).
        draws: cascades, each with an order of its own.
        seed: of the orders.

    Returns:
        a row a step, in order: `step`, from 0, the network as it was; `down_to`, the last layer
        with weights that was reached; and as means over films and draws `rank` and `ssim` of a
        film's own two maps, `pair_rank` and `pair_ssim` of its map with another film's after the
        step (in step 0 before it), which is what maps have in common that know nothing of the film.
    """
    trained = model.get_weights()
    before = explain(films)
    steps = [[model.get_layer("evidence")], *blocks(model)[::-1]]
    rows = [_row(0, "", before, before)]
    for draw in range(draws):
        model.set_weights(trained)
        rng = np.random.default_rng([seed, draw])
        for number, block in enumerate(steps, 1):
            weighed = [layer for layer in block if layer.weights]
            for layer in weighed:
                shuffled = [rng.permutation(one.ravel()).reshape(one.shape)
                            for one in layer.get_weights()]  # fmt: skip
                layer.set_weights(shuffled)
            rows.append(_row(number, weighed[0].name, before, explain(films)))
    means = pd.DataFrame(rows).groupby(["step", "down_to"], sort=True).mean()
    return means.reset_index()


def _row(
    step: int, down_to: str, before: NDArray[np.float32], after: NDArray[np.float32]
) -> dict[str, object]:
    other = other_films(after)
    return {
        "step": step,
        "down_to": down_to,
        "rank": rank_correlation(before, after).mean(),
        "ssim": structural_similarity(before, after).mean(),
        "pair_rank": rank_correlation(before, other).mean(),
        "pair_ssim": structural_similarity(before, other).mean(),
    }


def stays_alike(steps: pd.DataFrame) -> float:
    """The highest `rank` that any step of `cascade` leaves, -1 to 1."""
    return float(steps.loc[steps["step"] > 0, "rank"].max())
