"""A heat map.

One image after the other, as a server gets them, by the champion's network: the exported graph,
which gives logit and map in one pass, against `model.predict` and Grad-CAM by a GradientTape, and
against tf-keras-vis. The limit is the same graph with its map cut out. All cores.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.explain import Answer, seconds, usual, without_map
from benchmarks.rows import Row, Setting, take_turns

IMAGES = 400  # a turn of the graphs
FEW = 12  # of the others


def measure(setting: Setting) -> list[Row]:
    """Milliseconds an image of each."""
    from pneumonia.datasets.manifest import load_images, read_manifest
    from pneumonia.inference.predictor import Graph

    some = load_images(setting.data, read_manifest(setting.data).head(IMAGES))
    images = np.resize(some, (IMAGES, *some.shape[1:]))
    graph = setting.training / "graph.onnx"
    ways = {
        "ours": partial(_milliseconds, Graph(graph).run, images),
        "tape": partial(_milliseconds, usual(setting.training), images[:FEW]),
        "graph": partial(_milliseconds, without_map(graph), images),
    }
    alive = find_spec("tf_keras_vis") is not None
    if alive:
        ways["library"] = partial(_milliseconds, library(setting.training), images[:FEW])
    found = take_turns(ways, setting.turns)
    what, limit = "logit and map", "the graph without a map"
    rows = [
        Row(
            what, "ms", found["ours"], "`predict` and a GradientTape", found["tape"],
            limit, found["graph"],
        )
    ]  # fmt: skip
    if alive:
        rows.append(Row(what, "ms", found["ours"], "tf-keras-vis", found["library"]))
    else:
        rows.append(Row(f"{what}, against tf-keras-vis", "ms", note="`make setup-bench` first"))
    return rows


def _milliseconds(answer: Answer, images: NDArray[np.uint8]) -> float:
    return 1000 * seconds(answer, images)


def library(folder: Path) -> Callable[[NDArray[np.uint8]], object]:
    """Grad-CAM of tf-keras-vis 0.8, and the logit, which it does not hand out."""
    import keras
    from tf_keras_vis.gradcam import Gradcam
    from tf_keras_vis.utils.scores import BinaryScore

    from pneumonia.models.saving import load_network

    trained = load_network(folder)
    # It follows gradients from the input on, which none leads through whole numbers.
    image = keras.Input(trained.input.shape[1:], dtype="float32")
    model = keras.models.clone_model(trained, input_tensors=image)
    model.set_weights(trained.get_weights())
    explain = Gradcam(model, clone=False)

    def answer(xray: NDArray[np.uint8]) -> object:
        pixels = xray.astype(np.float32)
        logit = model.predict(pixels, verbose=0)
        return logit, explain(BinaryScore(1.0), pixels, penultimate_layer="features")

    return answer
