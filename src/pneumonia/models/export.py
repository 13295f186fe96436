"""The head at the end of both networks, and the export of a trained network as an ONNX graph.

The head is global average pooling and one dense unit without a bias. The logit is the unit's
output, the evidence, plus the constant `LOGIT_OFFSET`. So if all activations are zero, the result
is NORMAL. A trained bias was worse: the ImageNet backbone learned to call an image PNEUMONIA if
nothing was active, because ReLU6 is zero on most of a radiograph. Half of the Kermany pneumonias
had the same logit and an empty map, and any foreign image would have been called ill.

For this head Grad-CAM (Selvaraju 2017, eq. 1 and 2) and the class activation map (Zhou 2016) are
the same map, so the exported graph computes it in its forward pass. All code after training runs
the exported graph:

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


LOGIT_OFFSET = -4.0  # the logit of an image without evidence: a probability of 1.8 %
OPSET = 17


def add_head(image: keras.KerasTensor, features: keras.KerasTensor, name: str) -> keras.Model:
    """Build a network from `image` to a logit, (N, 1), with the head on `features`, (N, h, w, C).

    `export` expects that `features` is the output of a layer named "features".
    """
    import keras
    from keras import layers

    pooled = layers.GlobalAveragePooling2D(name="pool")(features)
    evidence = layers.Dense(1, use_bias=False, name="evidence")(pooled)
    logit = layers.Rescaling(1.0, LOGIT_OFFSET, name="logit")(evidence)
    return keras.Model(image, logit, name=name)


def export(model: keras.Model, path: Path) -> None:
    """Write the graph of a network made by `add_head`. The same model gives the same bytes."""
    import keras
    import onnx
    import tensorflow as tf
    import tf2onnx

    activations = keras.Model(model.input, model.get_layer("features").output)
    [kernel] = model.get_layer("evidence").get_weights()
    signature = [tf.TensorSpec((None, *model.input.shape[1:]), tf.uint8, name="image")]

    @tf.function(input_signature=signature)
    def forward(image: tf.Tensor) -> dict[str, tf.Tensor]:
        # The activations are weighted before pooling, so one product gives both logit and map.
        evidence = tf.nn.conv2d(
            activations(image, training=False), kernel[None, None], strides=1, padding="VALID"
        )[..., 0]
        cells = evidence.shape[1] * evidence.shape[2]
        logit = tf.reduce_mean(evidence, axis=[1, 2]) + LOGIT_OFFSET
        return {
            "logit": tf.identity(logit, "logit"),
            "map": tf.identity(tf.nn.relu(evidence) / cells, "map"),
        }

    # The converter warns about parts that it does not optimise. A wrong graph raises an error.
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
    """Convert Erfc, which exact GELU uses and the converter does not know, to 1 - erf(x)."""
    one = graph.make_const(f"{node.name}_one", np.array(1, np.float32))
    erf = graph.make_node("Erf", node.input)
    inputs = [one.output[0], erf.output[0]]
    outputs = list(node.output)
    graph.remove_node(node.name)
    graph.make_node("Sub", inputs, outputs=outputs, name=node.name)


def _make_constants(graph: onnx.GraphProto, captures: Iterable[tuple[Any, Any]]) -> None:
    """Turn graph inputs whose values are constants of the model into constants.

    The converter freezes variables, but some layers (Normalization) and some Keras operations have
    other tensors, which the converter leaves as inputs.
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

    The converter numbers names by counters. It chooses among equal constants by the order of a set
    of strings, which differs between processes. This function sorts nodes as the outputs reach them
    and constants by their first use, and names both by their place in this order.
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
    # Copy the messages first: clearing a field destroys the messages in it.
    nodes, used = copy.deepcopy(nodes), copy.deepcopy(used)
    graph.ClearField("doc_string")  # it contains one of the counters
    for field, ordered in (("node", nodes), ("initializer", used), ("value_info", [])):
        graph.ClearField(field)
        getattr(graph, field).extend(ordered)
