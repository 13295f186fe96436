"""Grad-CAM and two related methods, by gradients, at any layer.

The exported graph computes Grad-CAM at the last layer in its forward pass (models/export.py).
This module defines the maps: tests compare the graph with it, and it has other layers and methods.

A map combines a layer's activations, (h, w, C), with the gradient of a score at these activations.
The score is the logit, because the probability's gradient is almost 0 where the network is sure.
For NORMAL, the score is the negative logit; the map shows evidence against pneumonia, not health.
The last layer's activations are only pooled and weighted to give the logit. So there, the cells of
a HiResCAM map before the ReLU add up to the logit, and Grad-CAM gives the same map.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pneumonia.core.config import GradcamReportParams
from pneumonia.core.errors import InputError
from pneumonia.inference.overlay import heat_scale
from pneumonia.inference.predictor import Graph

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


# A function from images, uint8 (N, S, S, 1), to maps, float32 (N, h, w), not negative.
Explainer = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
LAST = "features"  # the layer whose activations the head pools
BATCH = 16


def explainer(
    model: keras.Model, method: str = "gradcam", layer: str = LAST, normal: bool = False,
    flips: bool = False,
) -> Explainer:  # fmt: skip
    """Make a function that computes maps; each call uses the network's current weights.

    Args:
        model: a network with the head of `pneumonia.models.export`.
        method: gradcam (Selvaraju et al. 2017, eq. 1 and 2), gradcam++ (Chattopadhay et al. 2018,
            eq. 19, for the exponential of the score) or hirescam (Draelos & Carin 2020, eq. 3).
        normal: explain NORMAL instead of PNEUMONIA.
        flips: take the mean with the map of the mirrored image, after mirroring that map back.

    Raises:
        InputError: the layer does not exist or has no map.
    """
    import keras
    import tensorflow as tf

    names = layers_with_maps(model)
    if layer not in names:
        last = ", ".join(names[-12:])
        raise InputError(f"{model.name}: no layer '{layer}' with a map; the last with one: {last}")
    with_logit = keras.Model(model.input, [model.get_layer(layer).output, model.output])

    @tf.function(input_signature=[tf.TensorSpec((None, *model.input.shape[1:]), tf.uint8)])
    def maps(images: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            # The tape also follows variables that Keras has frozen.
            activations, logit = with_logit(images, training=False)
            score = -logit if normal else logit
        gradient = tape.gradient(score, activations)
        if gradient is None:
            raise InputError(f"{model.name}: there are no weights before layer '{layer}'")
        return tf.nn.relu(_combine(method, activations, gradient))

    def explain(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        starts = range(0, len(images), BATCH)
        return np.concatenate([maps(images[start : start + BATCH]).numpy() for start in starts])

    if not flips:
        return explain

    def both_ways(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        mirrored = explain(images[:, :, ::-1])[:, :, ::-1]
        return ((explain(images) + mirrored) / 2).astype(np.float32)

    return both_ways


def layers_with_maps(model: keras.Model) -> list[str]:
    """The names, in order, of the layers with activations on a grid, (N, h, w, C)."""
    return [layer.name for layer in model.layers if len(getattr(layer.output, "shape", ())) == 4]


def _combine(method: str, activations: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    """Weight the activations (N, h, w, C) by the gradient, and sum to maps (N, h, w)."""
    import tensorflow as tf

    weights = gradient  # the weights of hirescam
    if method == "gradcam":
        weights = tf.reduce_mean(gradient, axis=(1, 2), keepdims=True)
    elif method == "gradcam++":
        # The paper's activations follow a ReLU. Otherwise a sum below 0 would change the sign.
        totals = tf.nn.relu(tf.reduce_sum(activations, axis=(1, 2), keepdims=True))
        square = gradient**2
        share = tf.math.divide_no_nan(square, 2 * square + totals * square * gradient)
        weights = tf.reduce_sum(share * tf.nn.relu(gradient), axis=(1, 2), keepdims=True)
    return tf.reduce_sum(weights * activations, axis=-1)


@dataclass(frozen=True)
class ExplainedModel:
    """A model and its maps of the test images."""

    model: keras.Model  #: the trained network
    graph: Graph  #: its exported graph
    explain: Explainer  #: gives maps by the checked method at the checked layer
    logits: NDArray[np.float32]  #: logits of the test images, float32, (N,)
    maps: NDArray[np.float32]  #: the maps for PNEUMONIA, float32, (N, h, w)
    against: NDArray[np.float32]  #: the maps for NORMAL, float32, (N, h, w)
    second_maps: NDArray[np.float32]  #: the maps by the network of the second seed
    scale: float  #: value drawn as the hottest colour
    val_auc: float  #: AUC on validation
    second_val_auc: float  #: AUC on validation of the training with another seed


def read_explained(
    folder: Path, images: NDArray[np.uint8], pneumonia: NDArray[np.uint8], scale: float,
    params: GradcamReportParams,
) -> ExplainedModel:  # fmt: skip
    """Read a trained model and compute its maps of the test images.

    If the params name the map of the exported graph, the graph computes the maps, and `scale` is
    kept. The checks then examine the maps that the served model shows.

    Args:
        folder: the folder of the trained model.
        images: the test images, uint8, (N, S, S, 1).
        pneumonia: the PNEUMONIA images of validation; they give the scale of all other maps.
        scale: the heat map scale of the operating point.

    Raises:
        InputError: files are missing, or there is no such layer.
    """
    from pneumonia.models.saving import load_network

    layer = getattr(params.layer, folder.name)
    method, flips = params.method, params.flips
    model, graph = load_network(folder), Graph(folder / "graph.onnx")
    explain = explainer(model, method, layer, flips=flips)
    logits, maps = graph.run(images)
    if (method, layer, flips) != ("gradcam", LAST, False):
        maps, scale = explain(images), heat_scale(explain(pneumonia))
    second = load_network(folder, "second_seed.weights.h5")
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return ExplainedModel(
        model=model, graph=graph, explain=explain, logits=logits, maps=maps, scale=scale,
        against=explainer(model, method, layer, normal=True, flips=flips)(images),
        second_maps=explainer(second, method, layer, flips=flips)(images),
        val_auc=metrics["val_auc"], second_val_auc=metrics["second_seed_val_auc"],
    )  # fmt: skip
