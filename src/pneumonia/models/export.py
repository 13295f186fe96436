"""A trained network as one ONNX graph: the artefact that everything after training runs.

Input `image`, uint8, (N, S, S, 1). Outputs `logit`, float32, (N,), and `map`, float32, (N, h, w):
the class activation map relu(sum_c w_c A_c) / (h w), not negative, in the logit's units.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

OPSET = 17


def export(model: keras.Model, path: Path) -> None:
    """Write the graph of a network that ends in `pneumonia.models.head`; same model, same bytes."""
    import keras
    import onnx
    import tensorflow as tf
    import tf2onnx

    activations = keras.Model(model.input, model.get_layer("features").output)
    kernel, bias = model.get_layer("logit").get_weights()
    signature = [tf.TensorSpec((None, *model.input.shape[1:]), tf.uint8, name="image")]

    @tf.function(input_signature=signature)
    def forward(image: tf.Tensor) -> dict[str, tf.Tensor]:
        # Weighing the activations before pooling them gives logit and map from one product.
        evidence = tf.nn.conv2d(
            activations(image, training=False), kernel[None, None], strides=1, padding="VALID"
        )[..., 0]
        cells = evidence.shape[1] * evidence.shape[2]
        logit = tf.reduce_mean(evidence, axis=[1, 2]) + bias[0]
        return {
            "logit": tf.identity(logit, "logit"),
            "map": tf.identity(tf.nn.relu(evidence) / cells, "map"),
        }

    graph, _ = tf2onnx.convert.from_function(forward, input_signature=signature, opset=OPSET)
    for value in (*graph.graph.input, *graph.graph.output):
        # The converter numbers the free dimension by a counter; a name stays the same.
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    onnx.checker.check_model(graph)
    path.write_bytes(graph.SerializeToString(deterministic=True))
