"""The backbones of the transfer network: how to build one, where it ends, what its blocks are.

To add a backbone, write a function like `_efficientnet_lite0` and list it in `BACKBONES`. The
classification networks of `keras.applications` need no function: their names work as they are.
Blocks and strides are read from the graph, so they need nothing for a new backbone.
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

    It becomes part of one flat graph: Keras 3 cannot reach the activations of a nested model.

    Raises:
        InputError: no such backbone, or weights that are missing or do not fit.
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


# Functions of the image, uint8 (N, S, S, 1), the same in RGB, float (N, S, S, 3), 0 to 255, and the
# param `weights`; they scale the RGB image as they need, and return the last activations.
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
    # These two have no module of their own name.
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
        # Keras reports a failed download, a wrong file and a wrong shape by different exceptions.
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"train_transfer: {name} with weights '{weights}': {reason}") from None
    return backbone.output


def ungrouped(model: keras.Model) -> keras.Model:
    """The same network with depthwise convolutions in place of convolutions in as many groups.

    ConvNeXt has such convolutions. Keras compiles them with XLA, which can neither be exported nor
    run on oneDNN.
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
            # (h, w, 1, channel) to (h, w, channel, 1).
            weights[0] = weights[0].transpose(0, 1, 3, 2)
        new.set_weights(weights)
    return replaced


def last_at_stride(
    image: keras.KerasTensor, output: keras.KerasTensor, stride: int
) -> keras.KerasTensor:
    """The last activations up to `output`, (N, h, w, C), whose cells cover at most `stride` px.

    The side of a cell is rounded to a power of two, as some families do not pad. Of these
    activations it takes the last place where the graph is narrowest: one tensor goes on, or as few
    as anywhere among them. Padding for a convolution that is left out does not count.
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

    One rule serves every family; it reads the graph, not the names. A block ends after a layer that
    joins branches (adds or concatenates; not a gate, which multiplies) where the graph is as narrow
    as at any such layer: one tensor goes on, or two in NASNet, whose cells read the two cells
    before them. In a backbone without branches (VGG, MobileNet) a block ends before each layer that
    makes the activations smaller. Layers without a kernel between two ends belong to the block
    before them.

    So blocks are the residual blocks of ResNet, ConvNeXt, Xception, MobileNetV2 and V3 and the
    EfficientNets, where a block without a shortcut belongs to the next one; the dense layers of
    DenseNet; the modules of Inception; the cells of NASNet; the stages of VGG and MobileNet.
    """
    nodes = _nodes(model)
    joins = [index for index, node in enumerate(nodes) if _joins(node)]
    widths = _widths(nodes)
    # The last join is narrow in any graph, so it says nothing; the first one makes RGB of grey.
    inner = [index for index in joins[:-1] if widths[index] > 0]
    narrowest = min((widths[index] for index in inner), default=1)
    result = _split(nodes, [index for index in joins if widths[index] <= narrowest])
    if len(result) == 1:
        result = _split(nodes, [index - 1 for index, node in enumerate(nodes) if _shrinks(node)])
    return result


def _nodes(model: keras.Model) -> list[Any]:
    """The graph's calls of layers, up to `features`; each comes after those that it needs."""
    by_depth = model._nodes_by_depth
    nodes = [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]
    names = [node.operation.name for node in nodes]
    return nodes[: names.index("features") + 1] if "features" in names else nodes


def _joins(node: Any) -> bool:
    from keras import layers

    several = len({id(tensor) for tensor in node.input_tensors}) > 1
    return several and not isinstance(node.operation, layers.Multiply)


def _widths(nodes: list[Any]) -> list[int]:
    """For each node, how many tensors made up to it are used after it."""
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
    """The layers of the nodes, split after the nodes at `ends`; each part but one has a kernel."""
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
