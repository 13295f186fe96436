"""Similarity of maps; maps that do not depend on the weights fail, those of Grad-CAM pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import sobel
from scipy.stats import spearmanr

from pneumonia.core.errors import InputError
from pneumonia.datasets.manifest import load_images, read_manifest
from pneumonia.explain.gradcam import explainer
from pneumonia.explain.randomisation import (
    cascade,
    highest_rank,
    rank_correlation,
    structural_similarity,
    uniform,
)
from pneumonia.models.backbones import blocks
from tests.models.test_graphs import network

ALLOWED = 0.5  # max_rank_correlation as shipped
OTHERS = np.roll(np.arange(12), 1)
Maps = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@pytest.fixture(scope="module")
def images(prepared: Any) -> NDArray[np.uint8]:
    return load_images(prepared, read_manifest(prepared))[:12]


@pytest.fixture
def model() -> Any:
    found = network("scratch")
    weights = found.get_weights()
    yield found
    found.set_weights(weights)


def guided_gradients(model: Any) -> tuple[Any, Maps]:
    """Guided backpropagation (Springenberg 2014) to the first convolution, and its network."""
    import keras
    import tensorflow as tf

    @tf.custom_gradient
    def guided(x: Any) -> Any:
        def gradient(upstream: Any) -> Any:
            return upstream * tf.cast((upstream > 0) & (x > 0), upstream.dtype)

        return tf.nn.relu(x), gradient

    class Guided(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return guided(x)

    def replace(layer: Any) -> Any:
        if isinstance(layer, keras.layers.ReLU):
            return Guided(name=layer.name)
        return layer.__class__.from_config({**layer.get_config(), "trainable": True})

    copy = keras.models.clone_model(model, clone_function=replace)
    copy.set_weights(model.get_weights())
    first = next(one for one in copy.layers if isinstance(one, keras.layers.Conv2D))
    both = keras.Model(copy.input, [first.output, copy.output])

    def explain(some: NDArray[np.uint8]) -> NDArray[np.float32]:
        with tf.GradientTape() as tape:
            activations, logit = both(some, training=False)
        return np.abs(tape.gradient(logit, activations).numpy()).sum(axis=-1)

    return copy, explain


def edge_detector(some: NDArray[np.uint8]) -> NDArray[np.float32]:
    pixels = some[..., 0].astype(np.float32)
    return np.hypot(sobel(pixels, axis=1), sobel(pixels, axis=2))


def constant(some: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.full((len(some), 7, 7), 0.4, np.float32)


def nearly_constant(some: NDArray[np.uint8]) -> NDArray[np.float32]:
    noise = np.random.default_rng(int(some.sum())).random((len(some), 7, 7))
    return (0.4 + 1e-7 * noise).astype(np.float32)


def test_grad_cam_depends_on_the_weights(model: Any, images: NDArray[np.uint8]) -> None:
    steps = cascade(model, explainer(model), images, OTHERS, draws=3, seed=7)
    assert highest_rank(steps) < ALLOWED
    assert steps["rank"][0] == steps["ssim"][0] == 1
    assert list(steps["step"]) == list(range(len(blocks(model)) + 2))
    assert steps["down_to"][1] == "evidence"


@pytest.mark.parametrize("explain", [edge_detector, constant, nearly_constant])
def test_maps_without_the_network_are_caught(
    model: Any, images: NDArray[np.uint8], explain: Maps
) -> None:
    assert highest_rank(cascade(model, explain, images, OTHERS, draws=1, seed=7)) == pytest.approx(
        1
    )


def test_guided_gradients_are_caught(model: Any, images: NDArray[np.uint8]) -> None:
    copy, explain = guided_gradients(model)
    assert highest_rank(cascade(copy, explain, images, OTHERS, draws=3, seed=7)) > ALLOWED


def test_the_cascade_is_reproducible_and_restores_the_network(
    model: Any, images: NDArray[np.uint8]
) -> None:
    trained, seen = model.get_weights(), []

    def watched(some: NDArray[np.uint8]) -> NDArray[np.float32]:
        seen.append(model.get_weights())
        return explainer(model)(some)

    some, others = images[:4], np.array([1, 2, 3, 0])
    steps = cascade(model, watched, some, others, draws=2, seed=1)
    assert all(map(np.array_equal, model.get_weights(), trained))
    last = seen[len(steps) - 1]
    changed = [not np.array_equal(*pair) for pair in zip(trained, last, strict=True)]
    # All of them are in another order, with the same values.
    assert np.mean(changed) > 0.9
    for one, other in zip(trained, last, strict=True):
        assert np.array_equal(np.sort(one, axis=None), np.sort(other, axis=None))
    # After the first step it is the head alone.
    assert [not np.array_equal(*pair) for pair in zip(trained, seen[1], strict=True)].count(
        True
    ) == 1
    explain = explainer(model)
    assert cascade(model, explain, some, others, draws=2, seed=1).equals(steps)
    assert not cascade(model, explain, some, others, draws=2, seed=2).equals(steps)


def test_maps_that_are_not_finite_are_refused(model: Any, images: NDArray[np.uint8]) -> None:
    weights = model.get_weights()

    def broken(some: NDArray[np.uint8]) -> NDArray[np.float32]:
        shuffled = not all(map(np.array_equal, model.get_weights(), weights))
        return np.where(shuffled, np.nan, explainer(model)(some)).astype(np.float32)

    with pytest.raises(InputError, match="down to 'evidence' are not finite"):
        cascade(model, broken, images, OTHERS, draws=1, seed=1)
    assert all(map(np.array_equal, model.get_weights(), weights))


def some_maps(seed: int, count: int = 4, side: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).random((count, side, side)).astype(np.float32)


@given(st.integers(0, 2**31))
def test_rank_correlation_is_spearmans(seed: int) -> None:
    ours, theirs = some_maps(seed), some_maps(seed + 1).round(1)
    expected = [spearmanr(one.ravel(), other.ravel()).statistic
                for one, other in zip(ours, theirs, strict=True)]  # fmt: skip
    assert rank_correlation(ours, theirs) == pytest.approx(expected)


def test_only_the_order_of_the_cells_matters() -> None:
    maps = some_maps(0)
    assert rank_correlation(maps, maps**3) == pytest.approx(1)
    assert rank_correlation(maps, -maps) == pytest.approx(-1)


def test_a_uniform_map_correlates_with_none() -> None:
    maps, flat = some_maps(0), np.ones((4, 7, 7), np.float32)
    assert rank_correlation(flat, maps) == pytest.approx(0)
    assert rank_correlation(maps, flat) == pytest.approx(0)


@pytest.mark.parametrize("noise", [0, 1e-7, 1e-4])
def test_nearly_uniform_maps_are_recognised(noise: float) -> None:
    assert uniform(0.4 + noise * some_maps(0)).all()
    assert uniform(np.zeros((2, 3, 3), np.float32)).all()
    assert not uniform(some_maps(0)).any()


def test_maps_of_other_grids_are_compared_on_the_finer_one() -> None:
    fine = np.kron(some_maps(0), np.ones((2, 2), np.float32))
    assert rank_correlation(some_maps(0), fine).min() > 0.7
    assert rank_correlation(fine, some_maps(0)) == pytest.approx(
        rank_correlation(some_maps(0), fine)
    )
    assert abs(rank_correlation(some_maps(1), fine)).max() < 0.5


def test_similarity_does_not_depend_on_the_scale() -> None:
    maps = some_maps(3)
    assert structural_similarity(maps, 5 * maps) == pytest.approx(1, abs=1e-4)
    assert structural_similarity(maps, some_maps(4)).max() < 0.6
    assert structural_similarity(maps, np.zeros_like(maps)).max() < 0.1
