"""The network on an ImageNet backbone, and the two phases of its training.

Frozen phase: the backbone runs once over the images, and the head is the exact optimum of an
L2-penalised logistic regression on the pooled features, so the head needs no gradient steps.
Fine-tuning: the last blocks learn, under augmentation; blocks further from the head learn more
slowly. Batch norms keep their ImageNet statistics, because statistics of a few thousand images
would be worse.

The gain of each design choice: docs/explanation/models.md.

Expected on the 5,232 images described in the README: validation AUC .998 after the frozen phase, at
the end, and at the end under image shifts; test AUC .999.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pneumonia.core.config import TransferParams
from pneumonia.models import devices
from pneumonia.models.backbones import append_backbone, blocks, last_at_stride, ungrouped
from pneumonia.models.batches import LabelledImages, TrainingData, class_weights
from pneumonia.models.checkpoint import Checkpoint
from pneumonia.models.export import LOGIT_OFFSET, add_head
from pneumonia.models.loop import Epoch, LayerGroup, OnEpoch, fit, forward, validate

if TYPE_CHECKING:
    import keras


def build(params: TransferParams, size: int) -> keras.Model:
    """Build the network: input uint8 (N, size, size, 1), output one logit (N, 1), frozen backbone.

    The backbone ends at `output_stride`. In the last layers of an ImageNet network, each cell sees
    nearly the whole image, so a map from these layers would not show where a finding is.

    Raises:
        InputError: the backbone is unknown, or its weights are missing or do not fit.
    """
    import keras
    from keras import layers

    image = keras.Input((size, size, 1), dtype="uint8", name="image")
    features = append_backbone(params.backbone, image, params.weights)
    features = last_at_stride(image, features, params.output_stride)
    features = layers.Activation("linear", name="features")(features)
    model = ungrouped(add_head(image, features, name="transfer"))
    for layer in model.layers:
        layer.trainable = layer.name == "evidence"
        if isinstance(layer, layers.Dropout):
            # Frozen features must not vary. Augmentation takes the place of dropout.
            layer.rate = 0.0
    return model


def train(
    model: keras.Model, data: TrainingData, params: TransferParams, history: list[Epoch],
    checkpoint: Checkpoint | None, on_epoch: OnEpoch,
) -> None:  # fmt: skip
    """Fit the head to the frozen backbone (epoch 0 of the history), then fine-tune.

    The arguments are the same as in `loop.fit`.
    """
    # If the chief has finished the frozen phase, no host repeats it. Otherwise each host runs the
    # frozen phase itself, and gets the same head.
    devices.broadcast(model.distribute_strategy, [], history)
    if not history:
        fit_head(model, data.train, params)
        history.append({"epoch": 0, **validate(forward(model), data.val)})
        on_epoch(history[0])
    if params.fine_tune_blocks and params.epochs:
        learning = groups(model, params)
        fit(model, learning, data, params, params.epochs, history, checkpoint, on_epoch)


def groups(model: keras.Model, params: TransferParams) -> list[LayerGroup]:
    """The layers that fine-tuning trains: the head, and the last `fine_tune_blocks` blocks.

    The n-th block from the head (n from 1) has the head's learning rate * `layer_decay ** n`.
    """
    from keras import layers

    norms = (layers.BatchNormalization, layers.Normalization)  # with statistics of ImageNet
    result = [LayerGroup([model.get_layer("evidence")])]
    tuned = blocks(model)[::-1][: params.fine_tune_blocks]
    for distance, block in enumerate(tuned, 1):
        first_epoch = 1
        if params.schedule == "gradual":
            first_epoch = next(
                epoch
                for epoch in range(1, params.epochs + 1)
                if unfrozen_blocks(len(tuned), epoch, params.epochs) >= distance
            )
        learning = [layer for layer in block if layer.weights and not isinstance(layer, norms)]
        result.append(LayerGroup(learning, params.layer_decay**distance, first_epoch))
    return result


def unfrozen_blocks(total: int, epoch: int, epochs: int) -> int:
    """The number of blocks, of `total`, that learn in an epoch (from 1) if unfreezing is gradual.

    Blocks begin one after the other, from the output, and all learn by the middle of the training.
    Later the learning rate is too low for a block to learn much (Howard & Ruder 2018).
    """
    return min(total, math.ceil(total * epoch / math.ceil(epochs / 2)))


def fit_head(model: keras.Model, train: LabelledImages, params: TransferParams) -> None:
    """Run the frozen backbone over the images once; set the head to the best fit on its features.

    The head is a logistic regression on the pooled features, each divided by its standard
    deviation. `head_l2` is the penalty on the weights, and `LOGIT_OFFSET` is the fixed intercept.
    SciPy's L-BFGS fits it, because scikit-learn's logistic regression allows no fixed intercept.
    """
    import keras
    from scipy.optimize import minimize

    pooled = keras.Model(model.input, model.get_layer("pool").output)
    features = forward(pooled, "transfer frozen")(train.images).astype(np.float64)
    # A constant feature gives no information, so its scale does not matter.
    scale = features.std(axis=0)
    scale[scale == 0] = 1
    features /= scale
    counts = np.ones(len(features)) if params.balance == "none" else class_weights(train.labels)

    def objective(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logits = features @ weights + LOGIT_OFFSET
        losses = np.logaddexp(0, logits) - train.labels * logits
        excess = counts * (np.exp(-np.logaddexp(0, -logits)) - train.labels)
        penalty = params.head_l2 / 2 * (weights @ weights)
        gradient = features.T @ excess / len(features) + params.head_l2 * weights
        return float((counts * losses).mean() + penalty), gradient

    start = np.zeros(features.shape[1])
    tight = {"maxiter": 5000, "ftol": 1e-12, "gtol": 1e-7}
    optimum = minimize(objective, start, jac=True, method="L-BFGS-B", options=tight)
    model.get_layer("evidence").set_weights([(optimum.x / scale)[:, None]])
