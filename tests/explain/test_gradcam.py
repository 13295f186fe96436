"""Maps by gradients, compared with the formulas in NumPy from differences of the logit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pneumonia.core.errors import InputError
from pneumonia.explain.gradcam import explainer, layers_with_maps
from tests.models.test_graphs import IMAGES, network

SIDE = 6
RNG = np.random.default_rng(1)
FIRST = RNG.normal(0, 0.4, (3, 3, 1, 3))
LAST = RNG.normal(0, 0.4, (3, 3, 3, 4))
HEAD = np.array([1.2, -0.8, 0.6, -1.1])
SOME = RNG.integers(0, 256, (5, SIDE, SIDE, 1), dtype=np.uint8)


def convolve(image: NDArray[np.float64], kernel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Same-padded 3x3 convolution and ReLU: (h, w, C)."""
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)))
    h, w = image.shape[:2]
    taps = [padded[row : row + h, column : column + w] @ kernel[row, column]
            for row in range(3) for column in range(3)]  # fmt: skip
    return np.maximum(sum(taps), 0)


def logit_from(layer: str, activations: NDArray[np.float64]) -> float:
    """The rest of the network, from a layer's activations on."""
    features = convolve(activations, LAST) if layer == "first" else activations
    return float(features.mean(axis=(0, 1)) @ HEAD - 4.0)


def activations_of(layer: str, image: NDArray[np.uint8]) -> NDArray[np.float64]:
    first = convolve(image.astype(np.float64) / 255, FIRST)
    return first if layer == "first" else convolve(first, LAST)


def gradient_at(layer: str, activations: NDArray[np.float64]) -> NDArray[np.float64]:
    """By central differences: exact, as the network is linear between the ReLUs' corners."""
    gradient = np.zeros_like(activations)
    for place in np.ndindex(activations.shape):
        change = np.zeros_like(activations)
        change[place] = 1e-6
        ends = [logit_from(layer, activations + sign * change) for sign in (1, -1)]
        gradient[place] = (ends[0] - ends[1]) / 2e-6
    return gradient


def expected(method: str, layer: str, image: NDArray[np.uint8], sign: int) -> NDArray[np.float64]:
    """The formulas as pytorch-grad-cam has them."""
    activations = activations_of(layer, image)
    gradient = sign * gradient_at(layer, activations)
    if method == "hirescam":
        return np.maximum((gradient * activations).sum(axis=-1), 0)
    if method == "gradcam":
        weights = gradient.mean(axis=(0, 1))
    else:
        square, cube = gradient**2, gradient**3
        denominator = 2 * square + activations.sum(axis=(0, 1)) * cube
        share = np.where(gradient != 0, square / np.where(denominator == 0, 1, denominator), 0)
        weights = (np.maximum(gradient, 0) * share).sum(axis=(0, 1))
    return np.maximum(activations @ weights, 0)


@pytest.fixture(scope="module")
def small() -> Any:
    """The same network in Keras."""
    import keras
    from keras import layers

    from pneumonia.models.export import add_head

    image = keras.Input((SIDE, SIDE, 1), dtype="uint8")
    x = layers.Rescaling(1 / 255, name="scaled")(image)
    convolution = {"padding": "same", "use_bias": False, "activation": "relu"}
    x = layers.Conv2D(3, 3, name="first", **convolution)(x)
    x = layers.Conv2D(4, 3, name="features", **convolution)(x)
    model = add_head(image, x, "small")
    model.set_weights([FIRST, LAST, HEAD[:, None]])
    return model


@pytest.mark.parametrize("normal", [False, True])
@pytest.mark.parametrize("layer", ["first", "features"])
@pytest.mark.parametrize("method", ["gradcam", "gradcam++", "hirescam"])
def test_the_maps_are_those_of_the_formulas(
    small: Any, method: str, layer: str, normal: bool
) -> None:
    maps = explainer(small, method, layer, normal)(SOME)
    reference = [expected(method, layer, image, -1 if normal else 1) for image in SOME]
    assert np.max(reference) > 1e-3
    assert maps.dtype == np.float32
    assert np.abs(maps - reference).max() <= 1e-5


@pytest.mark.parametrize("layer", ["first", "features"])
def test_the_cells_of_a_hirescam_add_up_to_the_logit(small: Any, layer: str) -> None:
    for_, against = (explainer(small, "hirescam", layer, normal)(SOME) for normal in (False, True))
    found = small(SOME).numpy()[:, 0] + 4.0
    # There is no bias on the way, so that the logit is its gradient times the activations.
    assert (for_ - against).sum(axis=(1, 2)) == pytest.approx(found, abs=1e-5)


def test_flips_average_with_the_mirrored_image(small: Any) -> None:
    plain = explainer(small)
    mean = (plain(SOME) + plain(SOME[:, :, ::-1])[:, :, ::-1]) / 2
    both = explainer(small, flips=True)(SOME)
    assert both == pytest.approx(mean, abs=1e-6)
    assert not np.allclose(both, plain(SOME), atol=1e-4)


def test_a_frozen_network_has_maps_too() -> None:
    model = network("EfficientNetLite0")
    before = [layer.trainable for layer in model.layers]
    for layer in model.layers:
        layer.trainable = False
    try:
        maps = explainer(model, "hirescam", "block_4_add")(IMAGES)
    finally:
        for layer, value in zip(model.layers, before, strict=True):
            layer.trainable = value
    assert maps.shape == (3, 8, 8)
    assert maps.max() > 0


def test_the_map_is_of_the_weights_at_the_time_of_the_call(small: Any) -> None:
    explain, weights = explainer(small), small.get_weights()
    before = explain(SOME)
    small.set_weights([weights[0], weights[1], -weights[2]])
    assert explain(SOME) == pytest.approx(explainer(small)(SOME))
    small.set_weights(weights)
    assert explain(SOME) == pytest.approx(before)


def test_an_unknown_layer_is_refused_and_known_ones_are_named(small: Any) -> None:
    with pytest.raises(InputError, match=r"no layer 'pool' with a map; .* first, features$"):
        explainer(small, layer="pool")
    assert layers_with_maps(small)[-2:] == ["first", "features"]


def test_a_layer_before_all_weights_is_refused(small: Any) -> None:
    with pytest.raises(InputError, match="no weights before layer 'scaled'"):
        explainer(small, layer="scaled")(SOME)
