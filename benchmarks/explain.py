"""The time of a heat map, compared with a common alternative and with no heat map.

One image at a time, as in a server. The three are measured in turns on the same images:

- *logit*: the exported graph without its heat map, in ONNX Runtime;
- *logit and map*: the exported graph;
- *GradientTape*: Keras' `model.predict` for the probability, then Grad-CAM with a GradientTape,
  eagerly.

After `make repro`: PYTHONPATH=src python benchmarks/explain.py
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from pneumonia.datasets.manifest import load_images, read_manifest
from pneumonia.inference.predictor import Graph
from pneumonia.models.saving import load_network

Explainer = Callable[[NDArray[np.uint8]], object]


def without_map(graph: Path) -> Explainer:
    """The graph with the logit as its only output. ONNX Runtime drops the nodes of the map."""
    model = onnx.load(graph)
    [heat_map] = [output for output in model.graph.output if output.name == "map"]
    model.graph.output.remove(heat_map)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return lambda image: session.run(["logit"], {"image": image})


def gradient_tape(folder: Path) -> Explainer:
    """Grad-CAM as in most demonstrations."""
    import keras
    import tensorflow as tf

    model = load_network(folder)
    both = keras.Model(model.input, [model.get_layer("features").output, model.output])

    def explain(image: NDArray[np.uint8]) -> object:
        logit = model.predict(image, verbose=0)
        with tf.GradientTape() as tape:
            activations, score = both(image)
            score = score[:, 0]
        gradient = tape.gradient(score, activations)
        weights = tf.reduce_mean(gradient, axis=(0, 1, 2))
        heat_map = tf.maximum(tf.squeeze(activations[0] @ weights[..., None]), 0)
        return logit, (heat_map / tf.reduce_max(heat_map)).numpy()

    return explain


def seconds(explain: Explainer, images: NDArray[np.uint8]) -> float:
    """Seconds per image."""
    start = time.perf_counter()
    for image in images:
        explain(image[None])
    return (time.perf_counter() - start) / len(images)


def main() -> None:
    """Print machine, times and ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("data/prepared"))
    parser.add_argument("--model", type=Path, default=Path("models/transfer"))
    parser.add_argument(
        "--images", type=int, default=1000, help="images in a turn of the graphs (1000)"
    )
    parser.add_argument("--turns", type=int, default=5, help="how often to measure each (5)")
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    table = read_manifest(options.data)
    some = load_images(options.data, table.head(options.images))
    images = np.resize(some, (options.images, *some.shape[1:]))
    graph = Graph(options.model / "graph.onnx")
    explainers: dict[str, tuple[Explainer, int]] = {
        "logit": (without_map(options.model / "graph.onnx"), len(images)),
        "logit and map": (graph.run, len(images)),
        "GradientTape": (gradient_tape(options.model), max(1, len(images) // 50)),
    }
    measured: dict[str, list[float]] = {name: [] for name in explainers}
    for turn in range(options.turns + 1):
        for name, (explain, count) in explainers.items():
            spent = seconds(explain, images[:count])
            if turn:  # the first turn warms up
                measured[name].append(spent)
    cores = len(os.sched_getaffinity(0))
    print(f"{options.model}, {len(images)} images in a turn; {cores} cores, {platform.machine()}")
    for name, times in measured.items():
        print(
            f"{name:14} {1e3 * statistics.median(times):8.2f} ms per image "
            f"({1e3 * min(times):.2f} to {1e3 * max(times):.2f})"
        )
    for over, under in (("logit and map", "logit"), ("GradientTape", "logit and map")):
        ratios = [a / b for a, b in zip(measured[over], measured[under], strict=True)]
        print(
            f"{over} / {under}: {statistics.median(ratios):.2f} times "
            f"({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
