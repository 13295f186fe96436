"""Scoring many images.

Prepared squares, PNG, by hard links; from the first result to the last, without start and loading
of the model. Ours is all of `pneumonia score`: decoding, the graph with its map, warnings, Parquet;
it is held against `model.predict` over `image_dataset_from_directory`, which gives the logit. The
limit is a loop of decoding and the graph in ONNX Runtime on one core, times the cores. A process
each.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from benchmarks.rows import Row, Setting, seconds, take_turns
from benchmarks.scoring import apart, link
from benchmarks.training import alone

IMAGES = 2000  # what is read before the first result comes counts for little
BATCH = 32


def measure(setting: Setting) -> list[Row]:
    """Images a second of each."""
    folder, cores = setting.scratch / "images", len(os.sched_getaffinity(0))
    link(setting.data / "images", folder, IMAGES)

    def ours(way: str, times: int) -> float:
        found = apart(way, folder, setting.model)
        return times * found["images"] / found["seconds"]

    found = take_turns(
        {
            "ours": partial(ours, f"{cores} threads", 1),
            "predict": lambda: alone(predict, folder, setting.training),
            "bare": partial(ours, "bare", cores),
        },
        setting.turns,
        warm_up=False,
    )
    return [
        Row(
            f"{IMAGES:,} images", "images/s", found["ours"], "`model.predict`", found["predict"],
            "decoding and the graph", found["bare"],
        )
    ]  # fmt: skip


def predict(folder: Path, training: Path) -> float:
    """Images a second as tutorials score them."""
    import keras

    from pneumonia.models.saving import load_network

    model = load_network(training)
    size = model.input.shape[1]
    dataset = keras.utils.image_dataset_from_directory(
        folder, labels=None, color_mode="grayscale", image_size=(size, size), batch_size=BATCH,
        shuffle=False, verbose=False,
    )  # fmt: skip
    model.predict(dataset.take(1), verbose=0)  # the graph is compiled here
    return IMAGES / seconds(lambda: model.predict(dataset, verbose=0))
