"""The head that both networks end in, and the export of a trained network as one ONNX graph.

The head is global average pooling and one dense unit without a bias. The logit is the evidence that
the unit finds plus `LOGIT_OFFSET`, which is a constant: an image whose activations are all zero has
that logit, on the side of NORMAL. With a trained bias the ImageNet backbone learned to call an
image PNEUMONIA when nothing was active, because ReLU6 is zero on most of a radiograph: half of the
Kermany pneumonias had one and the same logit and an empty map, and any foreign image would have
been called ill.

For this head Grad-CAM (Selvaraju 2017, eq. 1 and 2) and the class activation map (Zhou 2016) are
the same map, so the exported graph computes it in its forward pass. Everything after training runs
that graph:

Input `image`, uint8, (N, S, S, 1). Outputs `logit`, float32, (N,), and `map`, float32, (N, h, w):
the class activation map relu(sum_c w_c A_c) / (h w), not negative, in the logit's units.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import keras
    import onnx


LOGIT_OFFSET = -4.0  # logit of an image without evidence, a probability of 1.8 %
OPSET = 17


def add_head(image: keras.KerasTensor, features: keras.KerasTensor, name: str) -> keras.Model:
    """A network from `image` to a logit, (N, 1), with the head on `features`, (N, h, w, C).

    `export` expects that `features` is the output of a layer of that name.
    """
    import keras
    from keras import layers

    pooled = layers.GlobalAveragePooling2D(name="pool")(features)
    evidence = layers.Dense(1, use_bias=False, name="evidence")(pooled)
    logit = layers.Rescaling(1.0, LOGIT_OFFSET, name="logit")(evidence)
    return keras.Model(image, logit, name=name)


def export(model: keras.Model, path: Path) -> None:
    """Write the graph of a network that ends in `add_head`. The same model gives the same bytes."""
    import keras
    import onnx
    import tensorflow as tf
    import tf2onnx

    activations = keras.Model(model.input, model.get_layer("features").output)
    [kernel] = model.get_layer("evidence").get_weights()
    signature = [tf.TensorSpec((None, *model.input.shape[1:]), tf.uint8, name="image")]

    @tf.function(input_signature=signature)
    def forward(image: tf.Tensor) -> dict[str, tf.Tensor]:
        # Weighting the activations before pooling gives logit and map from one product.
        evidence = tf.nn.conv2d(
            activations(image, training=False), kernel[None, None], strides=1, padding="VALID"
        )[..., 0]
        cells = evidence.shape[1] * evidence.shape[2]
        logit = tf.reduce_mean(evidence, axis=[1, 2]) + LOGIT_OFFSET
        return {
            "logit": tf.identity(logit, "logit"),
            "map": tf.identity(tf.nn.relu(evidence) / cells, "map"),
        }

    # Its optimizers warn about what they do not optimise; a wrong graph would be an error.
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    graph, _ = tf2onnx.convert.from_function(
        forward,
        input_signature=signature,
        opset=OPSET,
        custom_op_handlers={"Erfc": (_erfc, [])},
    )
    _make_constants(graph.graph, forward.get_concrete_function().graph.captures)
    for value in (*graph.graph.input, *graph.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    _sort(graph.graph)
    onnx.checker.check_model(graph)
    path.write_bytes(graph.SerializeToString(deterministic=True))


def _erfc(graph: Any, node: Any, *_: Any) -> None:
    """1 - erf(x), an operation of exact GELU that the converter does not know."""
    one = graph.make_const(f"{node.name}_one", np.array(1, np.float32))
    erf = graph.make_node("Erf", node.input)
    inputs = [one.output[0], erf.output[0]]
    outputs = list(node.output)
    graph.remove_node(node.name)
    graph.make_node("Sub", inputs, outputs=outputs, name=node.name)


def _make_constants(graph: onnx.GraphProto, captures: Iterable[tuple[Any, Any]]) -> None:
    """Turn those inputs of the graph that are constants of the model into constants.

    The converter freezes variables, but leaves the tensors of some layers (Normalization) and of
    some of Keras' operations as inputs.
    """
    from onnx import numpy_helper

    values = {inside.name: outside for outside, inside in captures}
    for value in [value for value in graph.input if value.name in values]:
        graph.initializer.append(
            numpy_helper.from_array(values[value.name].numpy(), name=value.name)
        )
        graph.input.remove(value)


def _sort(graph: onnx.GraphProto) -> None:
    """Give equal graphs equal bytes.

    The converter numbers names by counters, and chooses among equal constants by the order of a set
    of strings, which differs between processes. This puts nodes in the order in which the outputs
    reach them and constants in the order of their use, and names both by that order.
    """
    producers = {name: node for node in graph.node for name in node.output}
    constants = {constant.name: constant for constant in graph.initializer}
    outputs = {value.name for value in graph.output}
    names = {"": ""} | {value.name: value.name for value in graph.input}  # "": an omitted input
    nodes: list[onnx.NodeProto] = []
    used: list[onnx.TensorProto] = []
    waiting = [value.name for value in reversed(graph.output)]
    while waiting:
        name = waiting[-1]
        if name in names:
            waiting.pop()
        elif name in constants:
            names[name] = f"constant_{len(used)}"
            used.append(constants[name])
        elif missing := [needed for needed in producers[name].input if needed not in names]:
            waiting += reversed(missing)
        else:
            node = producers[name]
            nodes.append(node)
            for output in node.output:
                names[output] = output if output in outputs else f"value_{len(names)}"
    for constant in used:
        constant.name = names[constant.name]
    for number, node in enumerate(nodes):
        node.name = f"{node.op_type}_{number}"
        node.input[:] = [names[name] for name in node.input]
        node.output[:] = [names[name] for name in node.output]
    # Copied first: clearing a field destroys the messages in it.
    nodes, used = copy.deepcopy(nodes), copy.deepcopy(used)
    graph.ClearField("doc_string")  # contains one of the counters
    for field, ordered in (("node", nodes), ("initializer", used), ("value_info", [])):
        graph.ClearField(field)
        getattr(graph, field).extend(ordered)
