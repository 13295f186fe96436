"""Maps that do not depend on the weights are caught; those of Grad-CAM are not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import sobel

from pneumonia.data.manifest import load_images, read_manifest
from pneumonia.explain.gradcam import explainer
from pneumonia.explain.randomisation import cascade, stays_alike
from pneumonia.models.blocks import blocks
from tests.models.test_graphs import network

ALLOWED = 0.5  # max_rank_correlation as shipped
Maps = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@pytest.fixture(scope="module")
def films(prepared: Any) -> NDArray[np.uint8]:
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


def test_grad_cam_depends_on_the_weights(model: Any, films: NDArray[np.uint8]) -> None:
    steps = cascade(model, explainer(model), films, draws=3, seed=7)
    assert stays_alike(steps) < ALLOWED
    assert steps["rank"][0] == steps["ssim"][0] == 1
    assert list(steps["step"]) == list(range(len(blocks(model)) + 2))
    assert steps["down_to"][1] == "evidence"


@pytest.mark.parametrize("explain", [edge_detector, constant])
def test_maps_that_never_saw_the_network_are_caught(
    model: Any, films: NDArray[np.uint8], explain: Maps
) -> None:
    assert stays_alike(cascade(model, explain, films, draws=1, seed=7)) == pytest.approx(1)


def test_guided_gradients_are_caught(model: Any, films: NDArray[np.uint8]) -> None:
    copy, explain = guided_gradients(model)
    assert stays_alike(cascade(copy, explain, films, draws=3, seed=7)) > ALLOWED


def test_the_cascade_goes_down_and_repeats_itself(model: Any, films: NDArray[np.uint8]) -> None:
    trained = model.get_weights()
    steps = cascade(model, explainer(model), films[:4], draws=2, seed=1)
    after = model.get_weights()
    # All of them are in another order, with the same values.
    changed = [not np.array_equal(*pair) for pair in zip(trained, after, strict=True)]
    assert np.mean(changed) > 0.9
    for one, other in zip(trained, after, strict=True):
        assert np.array_equal(np.sort(one, axis=None), np.sort(other, axis=None))
    model.set_weights(trained)
    again = cascade(model, explainer(model), films[:4], draws=2, seed=1)
    assert again.equals(steps)
    model.set_weights(trained)
    assert not cascade(model, explainer(model), films[:4], draws=2, seed=2).equals(steps)
