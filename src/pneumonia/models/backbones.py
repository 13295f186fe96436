"""The backbones of the transfer network: how to build and shorten them, and find their blocks.

To add a backbone, write a function like `_efficientnet_lite0` and list it in `BACKBONES`. The
classification networks of `keras.applications` need no function: their names work as they are.
This module reads blocks and strides from the graph, so a new backbone needs no code for them.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumonia.core.errors import InputError
from pneumonia.models import efficientnet_lite

if TYPE_CHECKING:
    import keras


def append_backbone(name: str, image: keras.KerasTensor, weights: str) -> keras.KerasTensor:
    """Append a backbone to an image, uint8 (N, S, S, 1); return its last activations (N, h, w, C).

    The backbone becomes part of a flat graph: Keras 3 cannot reach activations in a nested model.

    Raises:
        InputError: the backbone is unknown, or its weights are missing or do not fit.
    """
    from keras import layers

    if weights not in ("imagenet", "random") and not Path(weights).is_file():
        raise InputError(
            f"train_transfer.weights: {weights}: no such file (imagenet, random or a path)"
        )
    rgb = layers.Concatenate(name="rgb")([layers.Rescaling(1.0, name="float")(image)] * 3)
    if name in BACKBONES:
        return BACKBONES[name](image, rgb, weights)
    return _keras_application(name, rgb, weights)


def _efficientnet_lite0(
    image: keras.KerasTensor, rgb: keras.KerasTensor, weights: str
) -> keras.KerasTensor:
    import keras

    features = efficientnet_lite.build(rgb)
    model = keras.Model(image, features)
    if weights == "imagenet":
        efficientnet_lite.load_imagenet(model)
    elif weights != "random":
        try:
            model.load_weights(weights)
        except (ValueError, OSError) as error:
            reason = str(error).strip().splitlines()[0]
            raise InputError(f"train_transfer.weights: {weights}: {reason}") from None
    return features


# Each function gets the image, uint8 (N, S, S, 1), the same image in RGB, float (N, S, S, 3), 0 to
# 255, and the param `weights`. It scales the RGB image as needed, and returns the last activations.
BACKBONES: dict[str, Callable[..., Any]] = {"EfficientNetLite0": _efficientnet_lite0}


def _keras_application(name: str, rgb: keras.KerasTensor, weights: str) -> keras.KerasTensor:
    """Append a backbone of `keras.applications` and the input scaling that its family needs."""
    import keras

    applications = keras.applications
    families = {
        function: module
        for module in vars(applications).values()
        if hasattr(module, "preprocess_input")
        for function in vars(module)
        if inspect.isfunction(getattr(applications, function, None))
    }
    # The module of these two functions has another name.
    families |= dict.fromkeys(("MobileNetV3Small", "MobileNetV3Large"), applications.mobilenet_v3)
    if name not in families:
        known = ", ".join([*BACKBONES, *sorted(families)])
        raise InputError(f"train_transfer.backbone: no '{name}'; known: {known}")
    scaled = families[name].preprocess_input(rgb)
    try:
        pretrained = None if weights == "random" else weights
        backbone = getattr(applications, name)(
            include_top=False, weights=pretrained, input_tensor=scaled
        )
    except Exception as error:
        # Keras raises different exceptions for a failed download, a wrong file and a wrong shape.
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"train_transfer: {name} with weights '{weights}': {reason}") from None
    return backbone.output


def ungrouped(model: keras.Model) -> keras.Model:
    """Replace convolutions that have one group per channel by equal depthwise convolutions.

    ConvNeXt has such grouped convolutions. Keras compiles them with XLA, and compiled operations
    can neither be exported nor run on oneDNN.
    """
    import keras
    from keras import layers

    def is_grouped(layer: keras.layers.Layer) -> bool:
        return isinstance(layer, layers.Conv2D) and 1 < layer.groups == layer.filters

    def replace(layer: keras.layers.Layer) -> keras.layers.Layer:
        if not is_grouped(layer):
            return layer.__class__.from_config(layer.get_config())
        shape = {"kernel_size": layer.kernel_size, "strides": layer.strides}
        return layers.DepthwiseConv2D(padding=layer.padding, name=layer.name, **shape)

    if not any(is_grouped(layer) for layer in model.layers):
        return model
    replaced = keras.models.clone_model(model, clone_function=replace)
    for new, old in zip(replaced.layers, model.layers, strict=True):
        weights = old.get_weights()
        if is_grouped(old):
            # Transpose (h, w, 1, channel) to (h, w, channel, 1).
            weights[0] = weights[0].transpose(0, 1, 3, 2)
        new.set_weights(weights)
    return replaced


def last_at_stride(
    image: keras.KerasTensor, output: keras.KerasTensor, stride: int
) -> keras.KerasTensor:
    """Find the last activations up to `output`, (N, h, w, C), with cells of at most `stride` px.

    The side of a cell is rounded to a power of two, because some families do not pad. Among the
    activations with the largest such cells, the result is the last of those where the graph is
    narrowest. It is not a padding layer, because the convolution after the padding is left out.
    """
    import keras

    def cell(tensor: keras.KerasTensor) -> int:
        return 2 ** round(math.log2(image.shape[1] / tensor.shape[1]))

    if cell(output) <= stride:
        return output
    nodes = _nodes(keras.Model(image, output))
    candidates = [
        (-cell(node.output_tensors[0]), width, -index, node.output_tensors[0])
        for index, (node, width) in enumerate(zip(nodes, _widths(nodes), strict=True))
        if len(node.output_tensors[0].shape) == 4
        and cell(node.output_tensors[0]) <= stride
        and not isinstance(node.operation, keras.layers.ZeroPadding2D)
    ]
    return min(candidates, key=lambda candidate: candidate[:3])[-1]


def blocks(model: keras.Model) -> list[list[keras.layers.Layer]]:
    """The layers from the image to `features`, in blocks, from input to output.

    One rule works for all families; it reads the graph, not the names. A block ends after a layer
    that joins branches by adding or concatenating (a gate multiplies, so it does not count), if the
    graph there is as narrow as at the narrowest such layer. Then one tensor goes on, or two in
    NASNet: its cells read the two cells before them. A backbone without branches (VGG, MobileNet)
    starts a new block at each layer that makes the activations smaller. Layers without a kernel
    between two ends belong to the earlier block.

    So a block is a residual block in ResNet, ConvNeXt, Xception, MobileNetV2 and V3 and the
    EfficientNets (a block without a shortcut belongs to the next block), a dense layer in DenseNet,
    a module in Inception, a cell in NASNet, and a stage in VGG and MobileNet.
    """
    nodes = _nodes(model)
    joins = [index for index, node in enumerate(nodes) if _joins(node)]
    widths = _widths(nodes)
    # The last join is narrow in any graph, so its width says nothing and is left out.
    inner = [index for index in joins[:-1] if widths[index] > 0]
    narrowest = min((widths[index] for index in inner), default=1)
    result = _split(nodes, [index for index in joins if widths[index] <= narrowest])
    if len(result) == 1:
        result = _split(nodes, [index - 1 for index, node in enumerate(nodes) if _shrinks(node)])
    return result


def _nodes(model: keras.Model) -> list[Any]:
    """The graph's calls of layers, up to `features`; each call comes after the calls it needs."""
    by_depth = model._nodes_by_depth
    nodes = [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]
    names = [node.operation.name for node in nodes]
    return nodes[: names.index("features") + 1] if "features" in names else nodes


def _joins(node: Any) -> bool:
    from keras import layers

    several = len({id(tensor) for tensor in node.input_tensors}) > 1
    return several and not isinstance(node.operation, layers.Multiply)


def _widths(nodes: list[Any]) -> list[int]:
    """For each node, count the tensors that were made before or by it and are used after it."""
    last_use = {
        id(tensor): index for index, node in enumerate(nodes) for tensor in node.input_tensors
    }
    ends = [[last_use.get(id(tensor), -1) for tensor in node.output_tensors] for node in nodes]
    return [
        sum(end > index for outputs in ends[: index + 1] for end in outputs)
        for index in range(len(nodes))
    ]


def _shrinks(node: Any) -> bool:
    before, after = (
        [tensor.shape for tensor in side] for side in (node.input_tensors, node.output_tensors)
    )
    return bool(before) and len(before[0]) == len(after[0]) == 4 and after[0][1] < before[0][1]


def _split(nodes: list[Any], ends: list[int]) -> list[list[keras.layers.Layer]]:
    """Split the layers of the nodes after the nodes at `ends`; join parts without a kernel."""
    from keras import layers

    parts: list[list[Any]] = [[]]
    for index, node in enumerate(nodes):
        if isinstance(node.operation, layers.Layer):
            parts[-1].append(node.operation)
        if index in ends:
            parts.append([])
    joined: list[list[Any]] = []
    for part in parts:
        if joined and not (_has_kernel(part) and _has_kernel(joined[-1])):
            joined[-1] += part
        else:
            joined.append(part)
    return joined


def _has_kernel(layers: list[Any]) -> bool:
    return any(len(weight.shape) > 1 for layer in layers for weight in layer.weights)
