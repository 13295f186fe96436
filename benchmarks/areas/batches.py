"""Augmented batches for training.

The training images of `data/prepared`, 32 a batch, as `train_scratch` augments them, against
`image_dataset_from_directory` and Keras' augmentation layers (rotation, zoom, shift, contrast,
brightness; ours has aspect, gamma, blur, noise and the collimator too) in a parallel `map` with
`prefetch`: from the files in every epoch, as it comes, and with `cache`. All cores.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.rows import Row, Setting, seconds, take_turns
from benchmarks.training import class_folders

if TYPE_CHECKING:
    import tensorflow as tf

STEPS = 60  # batches a turn
BATCH = 32


def measure(setting: Setting) -> list[Row]:
    """Images a second of each."""
    from pneumonia.core.config import load_params
    from pneumonia.models.batches import batches, load_training_images

    folders = class_folders(setting.data, setting.scratch / "classes")
    params = load_params(Path("params.yaml")).train_scratch
    params = params.model_copy(update={"batch_size": BATCH})
    train = load_training_images(setting.data)[0]
    size = train.images.shape[1]
    # A training makes its stream once, so each way has one for all turns; the first is the warm-up.
    epochs = 1 + BATCH * STEPS * (setting.turns + 1) // len(train.labels) * 2
    streams = {
        "ours": iter(batches(train, params, 0, epochs)),
        "files": iter(usual(folders / "train", size, False)),
        "cache": iter(usual(folders / "train", size, True)),
    }
    found = take_turns({name: _rate(stream) for name, stream in streams.items()}, setting.turns)
    what = f"batches of {BATCH} images of {size} px"
    return [
        Row(what, "images/s", found["ours"], "Keras, from files", found["files"]),
        Row(what, "images/s", found["ours"], "Keras, `cache`", found["cache"]),
    ]


def _rate(stream: Any) -> Callable[[], float]:
    # What was fetched ahead while the others took their turn does not count.
    def rate() -> float:
        ahead = list(islice(stream, STEPS // 4))
        assert len(ahead) == STEPS // 4
        return STEPS * BATCH / seconds(lambda: [len(batch) for batch in islice(stream, STEPS)])

    return rate


def usual(folder: Any, size: int, cached: bool) -> tf.data.Dataset:
    """Endless batches as tutorials make them."""
    import keras
    import tensorflow as tf
    from keras import layers

    change = keras.Sequential(
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
        lambda images, labels: (change(images, training=True), labels),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    return dataset.repeat().prefetch(tf.data.AUTOTUNE)
