"""The network on an ImageNet backbone, and the two phases of its training.

Frozen phase: the backbone runs once over the films, and the head is the exact optimum of an
L2-penalised logistic regression on the pooled features; nothing there is worth gradient steps.
Fine-tuning: the last convolutions learn on, under augmentation, with batch norm frozen at its
ImageNet statistics (a few thousand films would only make those worse).

Expected on the 5,232 films described in the README: test AUC 0.99 or more.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from pneumonia.errors import InputError
from pneumonia.models import efficientnet_lite
from pneumonia.models.head import add_head
from pneumonia.models.training import Films, film_weights
from pneumonia.params import TransferParams

if TYPE_CHECKING:
    import keras


def build(params: TransferParams, size: int) -> keras.Model:
    """Build the network: uint8 (N, size, size, 1) in, one logit (N, 1) out, backbone frozen.

    The backbone is part of one flat graph, not a nested model, so that its activations can be
    reached (Keras 3 cannot open a nested one).

    Raises:
        InputError: no such backbone, or weights that are not there or do not fit.
    """
    import keras
    from keras import layers

    image = keras.Input((size, size, 1), dtype="uint8", name="image")
    rgb = layers.Concatenate(name="rgb")([layers.Rescaling(1.0, name="float")(image)] * 3)
    if params.backbone == "EfficientNetLite0":
        features = efficientnet_lite.build(rgb)
    else:
        features = _keras_application(params, rgb)
    features = layers.Activation("linear", name="features")(features)
    model = add_head(image, features, name="transfer")
    if params.backbone == "EfficientNetLite0":
        _load_lite(model, params.weights)
    for layer in model.layers:
        layer.trainable = layer.name == "logit"
    return model


def unfreeze(model: keras.Model, convolutions: int) -> int:
    """Make the last convolutions trainable, batch norm excepted; say how many that are."""
    from keras import layers

    kinds = (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D)
    found = [layer for layer in model.layers if isinstance(layer, kinds)]
    chosen = found[len(found) - min(convolutions, len(found)) :]
    for layer in chosen:
        layer.trainable = True
    return len(chosen)


def fit_head(model: keras.Model, train: Films, params: TransferParams) -> None:
    """Run the frozen backbone over the films once; set the head to the best fit on its features.

    The head is a logistic regression on the standardised pooled features, with `head_l2` as the
    penalty on its weights; the standardisation is folded into the layer `logit`.
    """
    import keras
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    pooled = keras.Model(model.input, model.get_layer("pool").output)
    starts = tqdm(
        range(0, len(train.images), 64), desc="transfer frozen", mininterval=1, disable=None
    )
    features = np.concatenate(
        [pooled.predict_on_batch(train.images[start : start + 64]) for start in starts]
    )
    scaler = StandardScaler().fit(features)
    regression = LogisticRegression(C=1 / (params.head_l2 * len(features)), max_iter=5000, tol=1e-6)
    weights = film_weights(train.labels, params)
    regression.fit(scaler.transform(features), train.labels, sample_weight=weights)
    kernel = regression.coef_[0] / scaler.scale_
    bias = regression.intercept_[0] - kernel @ scaler.mean_
    model.get_layer("logit").set_weights([kernel[:, None], np.array([bias])])


def _load_lite(model: keras.Model, weights: str) -> None:
    import keras

    if weights == "imagenet":
        efficientnet_lite.load_imagenet(model)
    elif weights != "random":
        _check_file(weights)
        try:
            keras.Model(model.input, model.get_layer("features").output).load_weights(weights)
        except (ValueError, OSError) as error:
            reason = str(error).strip().splitlines()[0]
            raise InputError(f"train_transfer.weights: {weights}: {reason}") from None


def _keras_application(params: TransferParams, rgb: keras.KerasTensor) -> keras.KerasTensor:
    """Append a backbone of `keras.applications` with its family's own input scaling."""
    import keras

    classes = {
        name: module
        for module in vars(keras.applications).values()
        if hasattr(module, "preprocess_input")
        for name in vars(module)
        if isinstance(getattr(keras.applications, name, None), type(build))
    }
    # These two have no module of their own name.
    classes |= dict.fromkeys(
        ("MobileNetV3Small", "MobileNetV3Large"), keras.applications.mobilenet_v3
    )
    if params.backbone not in classes:
        known = ", ".join(["EfficientNetLite0", *sorted(classes)])
        raise InputError(f"train_transfer.backbone: no '{params.backbone}'; known: {known}")
    if params.weights not in ("imagenet", "random"):
        _check_file(params.weights)
    scaled = classes[params.backbone].preprocess_input(rgb)
    try:
        backbone = getattr(keras.applications, params.backbone)(
            include_top=False,
            weights=None if params.weights == "random" else params.weights,
            input_tensor=scaled,
        )
    except Exception as error:
        # Keras reports a failed download, a wrong file and a wrong shape each in its own way.
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"train_transfer: {params.backbone} with weights '{params.weights}': {reason}"
        ) from None
    return backbone.output


def _check_file(weights: str) -> None:
    if not Path(weights).is_file():
        raise InputError(
            f"train_transfer.weights: {weights}: no such file (imagenet, random or a path)"
        )
