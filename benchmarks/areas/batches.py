"""Augmented batches for training.

The task is to make batches of 32 training images of `data/prepared`, augmented as in both
trainings, on all cores. The alternative is `image_dataset_from_directory` with Keras' augmentation
layers in a parallel `map` with `prefetch`. It is measured without a cache, so that every epoch
reads the files, and with `cache`. Keras' layers change rotation, zoom, position, contrast and
brightness; this project's augmentation also changes aspect ratio, gamma, blur, noise and the
collimator.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measurement import Row, Setting, seconds, take_turns
from benchmarks.training import class_folders

if TYPE_CHECKING:
    import tensorflow as tf

STEPS = 60  # batches in a turn
BATCH = 32


def measure(setting: Setting) -> list[Row]:
    """Images per second."""
    from pneumonia.core.config import load_params
    from pneumonia.models.batches import batches, load_training_data

    folders = class_folders(setting.data, setting.scratch / "classes")
    loaded = load_params(Path("params.yaml"))
    params = loaded.train_scratch.model_copy(update={"batch_size": BATCH})
    data = load_training_data(setting.data, loaded.augment)
    train, size = data.train, data.size
    # A training creates its stream once, so each stream is used in all turns. The first one warms
    # up.
    epochs = 1 + BATCH * STEPS * (setting.turns + 1) // len(train.labels) * 2
    streams = {
        "ours": iter(batches(train, params, data.augment, 0, epochs)),
        "files": iter(keras_batches(folders / "train", size, False)),
        "cache": iter(keras_batches(folders / "train", size, True)),
    }
    values = take_turns({name: _rate(stream) for name, stream in streams.items()}, setting.turns)
    task = f"batches of {BATCH} images of {size} px"
    return [
        Row(task, "images/s", values["ours"], "Keras, from files", values["files"]),
        Row(task, "images/s", values["ours"], "Keras, `cache`", values["cache"]),
    ]


def _rate(stream: Any) -> Callable[[], float]:
    def rate() -> float:
        # Drop the batches that were prepared ahead while the other streams were measured.
        prepared = list(islice(stream, STEPS // 4))
        assert len(prepared) == STEPS // 4
        return STEPS * BATCH / seconds(lambda: [len(batch) for batch in islice(stream, STEPS)])

    return rate


def keras_batches(folder: Any, size: int, cached: bool) -> tf.data.Dataset:
    """Endless batches, as tutorials make them."""
    import keras
    import tensorflow as tf
    from keras import layers

    augment = keras.Sequential(
        [
            layers.RandomRotation(0.02),
            layers.RandomZoom(0.1),
            layers.RandomTranslation(0.06, 0.06),
            layers.RandomContrast(0.3),
            layers.RandomBrightness(0.18),
        ]
    )
    dataset = keras.utils.image_dataset_from_directory(
        folder, label_mode="binary", color_mode="grayscale", image_size=(size, size),
        batch_size=BATCH, verbose=False,
    )  # fmt: skip
    if cached:
        dataset = dataset.cache()
    dataset = dataset.map(
        lambda images, labels: (augment(images, training=True), labels),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    return dataset.repeat().prefetch(tf.data.AUTOTUNE)
