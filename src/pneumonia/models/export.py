"""The head both networks end in: global average pooling and one dense unit without a bias.

The logit is the evidence that the unit finds plus `NOTHING_FOUND`, which is no weight: an image
whose activations are all zero has that logit, on the side of NORMAL. With a bias that learns, the
ImageNet backbone came to call an image PNEUMONIA when nothing was active, since ReLU6 is zero on most
of a radiograph: half of the Kermany pneumonias had one and the same logit, their maps were empty,
and any image that was foreign enough would have been called ill.

For this head Grad-CAM (Selvaraju 2017, eq. 1 and 2) and the class activation map (Zhou 2016) are
the same map, so that an exported graph gives it in its forward pass.

A trained network as one ONNX graph: the artefact that everything after training runs.

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


NOTHING_FOUND = -4.0  # logit of an image without evidence, a probability of 1.8 %


def add_head(image: keras.KerasTensor, features: keras.KerasTensor, name: str) -> keras.Model:
    """Close a network whose last activations, (N, h, w, C), are `features`.

    The unit's layer is named `evidence`, the output `logit`, (N, 1).
    """
    import keras
    from keras import layers

    pooled = layers.GlobalAveragePooling2D(name="pool")(features)
    evidence = layers.Dense(1, use_bias=False, name="evidence")(pooled)
    logit = layers.Rescaling(1.0, NOTHING_FOUND, name="logit")(evidence)
    return keras.Model(image, logit, name=name)


OPSET = 17


def export(model: keras.Model, path: Path) -> None:
    """Write the graph of a network that ends in `pneumonia.models.export`; same model, same bytes."""
    import keras
    import onnx
    import tensorflow as tf
    import tf2onnx

    activations = keras.Model(model.input, model.get_layer("features").output)
    [kernel] = model.get_layer("evidence").get_weights()
    signature = [tf.TensorSpec((None, *model.input.shape[1:]), tf.uint8, name="image")]

    @tf.function(input_signature=signature)
    def forward(image: tf.Tensor) -> dict[str, tf.Tensor]:
        # Weighing the activations before pooling them gives logit and map from one product.
        evidence = tf.nn.conv2d(
            activations(image, training=False), kernel[None, None], strides=1, padding="VALID"
        )[..., 0]
        cells = evidence.shape[1] * evidence.shape[2]
        logit = tf.reduce_mean(evidence, axis=[1, 2]) + NOTHING_FOUND
        return {
            "logit": tf.identity(logit, "logit"),
            "map": tf.identity(tf.nn.relu(evidence) / cells, "map"),
        }

    # Its optimizers warn of what they leave as it is; a graph that is wrong is an error.
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    graph, _ = tf2onnx.convert.from_function(
        forward,
        input_signature=signature,
        opset=OPSET,
        custom_op_handlers={"Erfc": (_erfc, [])},
    )
    _hold_constants(graph.graph, forward.get_concrete_function().graph.captures)
    for value in (*graph.graph.input, *graph.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    _put_in_order(graph.graph)
    onnx.checker.check_model(graph)
    path.write_bytes(graph.SerializeToString(deterministic=True))


def _erfc(graph: Any, node: Any, *_: Any) -> None:
    """1 - erf(x) for the operation of exact GELU, which the converter does not know."""
    one = graph.make_const(f"{node.name}_one", np.array(1, np.float32))
    erf = graph.make_node("Erf", node.input)
    inputs = [one.output[0], erf.output[0]]
    outputs = list(node.output)
    graph.remove_node(node.name)
    graph.make_node("Sub", inputs, outputs=outputs, name=node.name)


def _hold_constants(graph: onnx.GraphProto, captures: Iterable[tuple[Any, Any]]) -> None:
    """Make inputs of the graph that are really constants of the model into constants.

    The converter freezes variables, but not the tensors that some layers (Normalization) and some
    of Keras' operations hold; those it leaves as inputs.
    """
    from onnx import numpy_helper

    values = {inside.name: outside for outside, inside in captures}
    for value in [value for value in graph.input if value.name in values]:
        graph.initializer.append(
            numpy_helper.from_array(values[value.name].numpy(), name=value.name)
        )
        graph.input.remove(value)


def _put_in_order(graph: onnx.GraphProto) -> None:
    """Give equal graphs equal bytes.

    The converter numbers names by counters, and picks among equal constants by the order of a set
    of strings, which changes with every process. Here nodes are put in the order in which the
    outputs reach them, constants in the order of their use, and both are named by that.
    """
    producers = {name: node for node in graph.node for name in node.output}
    constants = {constant.name: constant for constant in graph.initializer}
    outputs = {value.name for value in graph.output}
    names = {"": ""} | {value.name: value.name for value in graph.input}  # "": input left out
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
    # Copied first: assigning would clear the list that the messages still live in.
    nodes, used = [copy.deepcopy(node) for node in nodes], [copy.deepcopy(one) for one in used]
    graph.ClearField("doc_string")  # holds one of the counters
    for field, ordered in (("node", nodes), ("initializer", used), ("value_info", [])):
        graph.ClearField(field)
        getattr(graph, field).extend(ordered)
