"""What a heat map costs: the exported graph against itself without maps, and the usual recipe.

One image at a time, as a server gets them, the three taking turns on the same images:

- *logit*: the exported graph with its map cut out, in ONNX Runtime;
- *logit and map*: the exported graph as it is;
- *usual*: Keras' `model.predict` for the probability, then Grad-CAM by a GradientTape, eagerly.

PYTHONPATH=src python benchmarks/explain.py, after `make repro`
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

Answer = Callable[[NDArray[np.uint8]], object]


def without_map(graph: Path) -> Answer:
    """The graph with the logit as its only output; ONNX Runtime drops what only the map needed."""
    model = onnx.load(graph)
    [heat_map] = [output for output in model.graph.output if output.name == "map"]
    model.graph.output.remove(heat_map)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return lambda image: session.run(["logit"], {"image": image})


def usual(folder: Path) -> Answer:
    """What most demonstrations do."""
    import keras
    import tensorflow as tf

    model = load_network(folder)
    both = keras.Model(model.input, [model.get_layer("features").output, model.output])

    def answer(image: NDArray[np.uint8]) -> object:
        logit = model.predict(image, verbose=0)
        with tf.GradientTape() as tape:
            activations, score = both(image)
            score = score[:, 0]
        gradient = tape.gradient(score, activations)
        weights = tf.reduce_mean(gradient, axis=(0, 1, 2))
        heat_map = tf.maximum(tf.squeeze(activations[0] @ weights[..., None]), 0)
        return logit, (heat_map / tf.reduce_max(heat_map)).numpy()

    return answer


def seconds(answer: Answer, images: NDArray[np.uint8]) -> float:
    """Time an image."""
    start = time.perf_counter()
    for image in images:
        answer(image[None])
    return (time.perf_counter() - start) / len(images)


def main() -> None:
    """Print machine, times and ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("data/prepared"))
    parser.add_argument("--model", type=Path, default=Path("models/transfer"))
    parser.add_argument("--images", type=int, default=1000, help="a turn of the graphs (1000)")
    parser.add_argument("--turns", type=int, default=5, help="times that each is measured (5)")
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    table = read_manifest(options.data)
    some = load_images(options.data, table.head(options.images))
    images = np.resize(some, (options.images, *some.shape[1:]))
    graph = Graph(options.model / "graph.onnx")
    answers: dict[str, tuple[Answer, int]] = {
        "logit": (without_map(options.model / "graph.onnx"), len(images)),
        "logit and map": (graph.run, len(images)),
        "usual": (usual(options.model), max(1, len(images) // 50)),
    }
    taken: dict[str, list[float]] = {name: [] for name in answers}
    for turn in range(options.turns + 1):
        for name, (answer, count) in answers.items():
            spent = seconds(answer, images[:count])
            if turn:  # the first one warms up
                taken[name].append(spent)
    cores = len(os.sched_getaffinity(0))
    print(f"{options.model}, {len(images)} images a turn; {cores} cores, {platform.machine()}")
    for name, times in taken.items():
        print(
            f"{name:14} {1e3 * statistics.median(times):8.2f} ms an image "
            f"({1e3 * min(times):.2f} to {1e3 * max(times):.2f})"
        )
    for over, under in (("logit and map", "logit"), ("usual", "logit and map")):
        ratios = [a / b for a, b in zip(taken[over], taken[under], strict=True)]
        print(
            f"{over} / {under}: {statistics.median(ratios):.2f} times "
            f"({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
