"""A heat map.

The champion's network gets one image after the other, as in a server, on all cores. The exported
graph computes logit and heat map in one pass. The alternatives are `model.predict` followed by
Grad-CAM with a GradientTape, and tf-keras-vis. The limit is the same graph without the heat map.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.explain import Explainer, gradient_tape, seconds, without_map
from benchmarks.measurement import Row, Setting, take_turns

IMAGES = 400  # per turn, for the graphs
FEW = 12  # per turn, for the alternatives


def measure(setting: Setting) -> list[Row]:
    """Milliseconds per image."""
    from pneumonia.datasets.manifest import load_images, read_manifest
    from pneumonia.inference.predictor import Graph

    some = load_images(setting.data, read_manifest(setting.data).head(IMAGES))
    images = np.resize(some, (IMAGES, *some.shape[1:]))
    graph = setting.training / "graph.onnx"
    functions = {
        "ours": partial(_milliseconds, Graph(graph).run, images),
        "tape": partial(_milliseconds, gradient_tape(setting.training), images[:FEW]),
        "graph": partial(_milliseconds, without_map(graph), images),
    }
    has_library = find_spec("tf_keras_vis") is not None
    if has_library:
        functions["library"] = partial(_milliseconds, library(setting.training), images[:FEW])
    values = take_turns(functions, setting.turns)
    task, limit = "logit and map", "the graph without a map"
    rows = [
        Row(
            task, "ms", values["ours"], "`predict` and a GradientTape", values["tape"],
            limit, values["graph"],
        )
    ]  # fmt: skip
    if has_library:
        rows.append(Row(task, "ms", values["ours"], "tf-keras-vis", values["library"]))
    else:
        rows.append(Row(f"{task}, against tf-keras-vis", "ms", note="run `make setup-bench` first"))
    return rows


def _milliseconds(explain: Explainer, images: NDArray[np.uint8]) -> float:
    return 1000 * seconds(explain, images)


def library(folder: Path) -> Callable[[NDArray[np.uint8]], object]:
    """Grad-CAM of tf-keras-vis 0.8, and the logit, which it does not return."""
    import keras
    from tf_keras_vis.gradcam import Gradcam
    from tf_keras_vis.utils.scores import BinaryScore

    from pneumonia.models.saving import load_network

    trained = load_network(folder)
    # It computes gradients of the input, so the input must be float.
    image = keras.Input(trained.input.shape[1:], dtype="float32")
    model = keras.models.clone_model(trained, input_tensors=image)
    model.set_weights(trained.get_weights())
    gradcam = Gradcam(model, clone=False)

    def explain(xray: NDArray[np.uint8]) -> object:
        pixels = xray.astype(np.float32)
        logit = model.predict(pixels, verbose=0)
        return logit, gradcam(BinaryScore(1.0), pixels, penultimate_layer="features")

    return explain
