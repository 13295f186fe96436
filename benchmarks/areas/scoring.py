"""Scoring many images.

The images are prepared PNG squares, multiplied by hard links. The time is measured from the first
result to the last, so it does not include starting the process and loading the model. Each of the
two runs in its own process. `pneumonia score` does all its work: decoding, the graph with its heat
map, warnings, Parquet files. The alternative is `model.predict` over
`image_dataset_from_directory`, which computes the logit only. The limit is the speed of a loop on
one core that decodes and runs the graph in ONNX Runtime, multiplied by the number of cores.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from benchmarks.measurement import Row, Setting, seconds, take_turns
from benchmarks.scoring import link, measure_in_new_process
from benchmarks.training import in_new_process

IMAGES = 2000  # so many that the images read before the first result hardly matter
BATCH = 32


def measure(setting: Setting) -> list[Row]:
    """Images per second."""
    folder, cores = setting.scratch / "images", len(os.sched_getaffinity(0))
    link(setting.data / "images", folder, IMAGES)

    def rate(way: str, factor: int) -> float:
        measured = measure_in_new_process(way, folder, setting.model)
        return factor * measured["images"] / measured["seconds"]

    values = take_turns(
        {
            "ours": partial(rate, f"{cores} threads", 1),
            "predict": lambda: in_new_process(predict, folder, setting.training),
            "bare": partial(rate, "loop", cores),
        },
        setting.turns,
        warm_up=False,
    )
    return [
        Row(
            f"{IMAGES:,} images", "images/s", values["ours"], "`model.predict`", values["predict"],
            "decoding and the graph", values["bare"],
        )
    ]  # fmt: skip


def predict(folder: Path, training: Path) -> float:
    """Images per second of `model.predict`, as tutorials score many images."""
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
