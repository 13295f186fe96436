"""Where a backbone is cut: at its blocks, which fine-tuning counts, and at its end."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

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
