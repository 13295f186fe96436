"""Where a backbone is cut: at its blocks, which fine-tuning counts, and at its end."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumonia.core.config import TransferParams
from pneumonia.core.errors import InputError
from pneumonia.models import efficientnet_lite
from pneumonia.models.transfer import build

if TYPE_CHECKING:
    import keras


def blocks(model: keras.Model) -> list[list[keras.layers.Layer]]:
    """The layers from the image to `features`, in blocks, from input to output.

    One rule for every family, read off the graph and not off names: a block ends after a layer that
    joins branches (adds, concatenates; not a gate, which multiplies) where the graph is as narrow
    as at any such layer: one tensor goes on. In NASNet, whose cells see the two cells before them,
    it is two. A backbone without branches (VGG, MobileNet) is cut before each layer that makes the
    picture smaller. A piece without a kernel belongs to the block before it.

    So blocks are the residual blocks of ResNet, ConvNeXt, Xception, MobileNetV2 and V3 and the
    EfficientNets, where a block without a shortcut goes with the one after it; the dense layers of
    DenseNet; the modules of Inception; the cells of NASNet; the stages of VGG and MobileNet.
    """
    nodes = _nodes(model)
    joins = [index for index, node in enumerate(nodes) if _joins(node)]
    widths = _widths(nodes)
    # The last one is narrow in any graph, so it says nothing; the first one makes RGB of grey.
    inner = [index for index in joins[:-1] if widths[index] > 0]
    narrow = min((widths[index] for index in inner), default=1)
    pieces = _cut(nodes, [index for index in joins if widths[index] <= narrow])
    if len(pieces) == 1:
        pieces = _cut(nodes, [index - 1 for index, node in enumerate(nodes) if _shrinks(node)])
    return pieces


def last_at_stride(
    image: keras.KerasTensor, output: keras.KerasTensor, stride: int
) -> keras.KerasTensor:
    """The last activations of a graph, (N, h, w, C), whose cells cover at most `stride` px.

    A cell's side is taken to the nearest power of two, as some families do not pad. Among those
    activations it is the last place where one tensor goes on, or as few as anywhere there; not one
    that is padded for a convolution that is cut off.

    Args:
        image: the graph's input, (N, S, S, C).
        output: its end; where that is no coarser it is the answer.
        stride: px, a power of two.
    """
    import keras

    def cell(tensor: keras.KerasTensor) -> int:
        return 2 ** round(math.log2(image.shape[1] / tensor.shape[1]))

    if cell(output) <= stride:
        return output
    nodes = _nodes(keras.Model(image, output))
    found = [
        (-cell(node.output_tensors[0]), width, -index, node.output_tensors[0])
        for index, (node, width) in enumerate(zip(nodes, _widths(nodes), strict=True))
        if len(node.output_tensors[0].shape) == 4
        and cell(node.output_tensors[0]) <= stride
        and not isinstance(node.operation, keras.layers.ZeroPadding2D)
    ]
    return min(found, key=lambda one: one[:3])[-1]


def open_blocks(total: int, epoch: int, epochs: int) -> int:
    """How many of `total` blocks learn in an epoch (from 1) when they are unfrozen gradually.

    From the output down, evenly, all of them from the middle of the training on: later the
    learning rate is too low to be of use to a block (Howard & Ruder 2018, gradual unfreezing).
    """
    return min(total, math.ceil(total * epoch / math.ceil(epochs / 2)))


def _nodes(model: keras.Model) -> list[Any]:
    """The graph's calls of layers, up to `features`; each follows what it needs."""
    by_depth = model._nodes_by_depth
    nodes = [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]
    names = [node.operation.name for node in nodes]
    return nodes[: names.index("features") + 1] if "features" in names else nodes


def _joins(node: Any) -> bool:
    from keras import layers

    several = len({id(tensor) for tensor in node.input_tensors}) > 1
    return several and not isinstance(node.operation, layers.Multiply)


def _widths(nodes: list[Any]) -> list[int]:
    """How many tensors made up to each node are needed after it."""
    last_use = {
        id(tensor): index for index, node in enumerate(nodes) for tensor in node.input_tensors
    }
    ends = [[last_use.get(id(tensor), -1) for tensor in node.output_tensors] for node in nodes]
    return [
        sum(end > index for made in ends[: index + 1] for end in made)
        for index in range(len(nodes))
    ]


def _shrinks(node: Any) -> bool:
    before, after = (
        [tensor.shape for tensor in side] for side in (node.input_tensors, node.output_tensors)
    )
    return bool(before) and len(before[0]) == len(after[0]) == 4 and after[0][1] < before[0][1]


def _cut(nodes: list[Any], ends: list[int]) -> list[list[keras.layers.Layer]]:
    from keras import layers

    pieces: list[list[Any]] = [[]]
    for index, node in enumerate(nodes):
        if isinstance(node.operation, layers.Layer):
            pieces[-1].append(node.operation)
        if index in ends:
            pieces.append([])
    joined: list[list[Any]] = []
    for piece in pieces:
        if joined and not (_has_kernel(piece) and _has_kernel(joined[-1])):
            joined[-1] += piece
        else:
            joined.append(piece)
    return joined


def _has_kernel(layers: list[Any]) -> bool:
    return any(len(weight.shape) > 1 for layer in layers for weight in layer.weights)


def _load_lite(model: keras.Model, weights: str) -> None:
    if weights == "imagenet":
        efficientnet_lite.load_imagenet(model)
    elif weights != "random":
        _check_file(weights)
        try:
            model.load_weights(weights)
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


def _plain(model: keras.Model) -> keras.Model:
    """The same network with depthwise convolutions in place of convolutions in as many groups.

    ConvNeXt has those; Keras compiles them with XLA, which neither exports nor runs on oneDNN.
    """
    import keras
    from keras import layers

    def grouped(layer: keras.layers.Layer) -> bool:
        return isinstance(layer, layers.Conv2D) and 1 < layer.groups == layer.filters

    def replace(layer: keras.layers.Layer) -> keras.layers.Layer:
        if not grouped(layer):
            return layer.__class__.from_config(layer.get_config())
        shape = {"kernel_size": layer.kernel_size, "strides": layer.strides}
        return layers.DepthwiseConv2D(padding=layer.padding, name=layer.name, **shape)

    if not any(grouped(layer) for layer in model.layers):
        return model
    plain = keras.models.clone_model(model, clone_function=replace)
    for new, old in zip(plain.layers, model.layers, strict=True):
        weights = old.get_weights()
        if grouped(old):
            # (h, w, 1, channel) to (h, w, channel, 1).
            weights[0] = weights[0].transpose(0, 1, 3, 2)
        new.set_weights(weights)
    return plain


def _check_file(weights: str) -> None:
    if not Path(weights).is_file():
        raise InputError(
            f"train_transfer.weights: {weights}: no such file (imagenet, random or a path)"
        )
