"""The network on an ImageNet backbone, and the two phases of its training.

Frozen phase: the backbone runs once over the images, and the head is the exact optimum of an
L2-penalised logistic regression on the pooled features; nothing there is worth gradient steps.
Fine-tuning: all blocks learn on, under augmentation, the further from the head the slower, and with
batch norm frozen at its ImageNet statistics (a few thousand images would only make them worse).

What each of these bought: docs/explanation/models.md.

Expected on the 5,232 images described in the README: validation AUC .998 after the frozen phase and
at the end, then steady under shift too; test AUC .999.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pneumonia.core.config import TransferParams
from pneumonia.models import devices, efficientnet_lite
from pneumonia.models.backbones import (
    _keras_application,
    _load_lite,
    _plain,
    blocks,
    last_at_stride,
    open_blocks,
)
from pneumonia.models.batches import LabelledImages, class_weights
from pneumonia.models.checkpoint import Checkpoint
from pneumonia.models.export import NOTHING_FOUND, add_head
from pneumonia.models.loop import Epoch, Group, OnEpoch, fit, forward, validate

if TYPE_CHECKING:
    import keras


def build(params: TransferParams, size: int) -> keras.Model:
    """Build the network: uint8 (N, size, size, 1) in, one logit (N, 1) out, backbone frozen.

    The backbone is part of one flat graph, not a nested model, so that its activations can be
    reached (Keras 3 cannot open a nested one). It ends at `output_stride`: the last layers of an
    ImageNet network see nearly the whole image from each cell, so that its map says little of where.

    Raises:
        InputError: no such backbone, or weights that are not there or do not fit.
    """
    import keras
    from keras import layers

    image = keras.Input((size, size, 1), dtype="uint8", name="image")
    rgb = layers.Concatenate(name="rgb")([layers.Rescaling(1.0, name="float")(image)] * 3)
    if params.backbone == "EfficientNetLite0":
        features = efficientnet_lite.build(rgb)
        _load_lite(keras.Model(image, features), params.weights)
    else:
        features = _keras_application(params, rgb)
    features = last_at_stride(image, features, params.output_stride)
    features = layers.Activation("linear", name="features")(features)
    model = _plain(add_head(image, features, name="transfer"))
    for layer in model.layers:
        layer.trainable = layer.name == "evidence"
        if isinstance(layer, layers.Dropout):
            # Frozen features are to stay what they are; augmentation is what regularises.
            layer.rate = 0.0
    return model


def train(
    model: keras.Model,
    images: tuple[LabelledImages, LabelledImages],
    params: TransferParams,
    history: list[Epoch],
    checkpoint: Checkpoint | None,
    on_epoch: OnEpoch,
) -> None:
    """Fit the head to the frozen backbone, which is epoch 0 of the history; then fine-tune.

    The arguments are those of `training.fit`.
    """
    # All have the frozen phase behind them if the chief has; else each runs it, for the same head.
    devices.share(model.distribute_strategy, [], history)
    if not history:
        fit_head(model, images[0], params)
        history.append({"epoch": 0, **validate(forward(model), images[1])})
        on_epoch(history[0])
    if params.fine_tune_blocks and params.epochs:
        learning = groups(model, params)
        fit(model, learning, images, params, params.epochs, history, checkpoint, on_epoch)


def groups(model: keras.Model, params: TransferParams) -> list[Group]:
    """What fine-tuning trains: the head, and the last `fine_tune_blocks` blocks behind it.

    The block n blocks away from the head, from 1, learns at `layer_decay ** n` of the head's rate.
    """
    found = [Group([model.get_layer("evidence")])]
    behind = blocks(model)[::-1][: params.fine_tune_blocks]
    for distance, block in enumerate(behind, 1):
        opens = 1
        if params.schedule == "gradual":
            opens = next(
                epoch
                for epoch in range(1, params.epochs + 1)
                if open_blocks(len(behind), epoch, params.epochs) >= distance
            )
        learning = [layer for layer in block if layer.weights and not _is_norm(layer)]
        found.append(Group(learning, params.layer_decay**distance, opens))
    return found


def _is_norm(layer: keras.layers.Layer) -> bool:
    """Whether a layer holds the statistics of ImageNet."""
    from keras import layers

    return isinstance(layer, (layers.BatchNormalization, layers.Normalization))


def fit_head(model: keras.Model, train: LabelledImages, params: TransferParams) -> None:
    """Run the frozen backbone over the images once; set the head to the best fit on its features.

    The head is a logistic regression on the pooled features in units of their standard deviations,
    with `head_l2` as the penalty on its weights and `NOTHING_FOUND` in place of an intercept. (By
    SciPy's L-BFGS: scikit-learn's regression takes no offset.)
    """
    import keras
    from scipy.optimize import minimize

    pooled = keras.Model(model.input, model.get_layer("pool").output)
    features = forward(pooled, "transfer frozen")(train.images).astype(np.float64)
    # A feature that never varies says nothing; its unit does not matter.
    unit = features.std(axis=0)
    unit[unit == 0] = 1
    features /= unit
    counts = np.ones(len(features)) if params.balance == "none" else class_weights(train.labels)

    def objective(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logits = features @ weights + NOTHING_FOUND
        losses = np.logaddexp(0, logits) - train.labels * logits
        excess = counts * (np.exp(-np.logaddexp(0, -logits)) - train.labels)
        penalty = params.head_l2 / 2 * (weights @ weights)
        slope = features.T @ excess / len(features) + params.head_l2 * weights
        return float((counts * losses).mean() + penalty), slope

    start = np.zeros(features.shape[1])
    tight = {"maxiter": 5000, "ftol": 1e-12, "gtol": 1e-7}
    found = minimize(objective, start, jac=True, method="L-BFGS-B", options=tight)
    model.get_layer("evidence").set_weights([(found.x / unit)[:, None]])
