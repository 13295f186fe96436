"""Training to the same validation AUC, and a step.

Images drawn and prepared for this, 128 px, about 500 to train on and 70 to validate with. Seconds go
from images on disk to the end of the first epoch that reaches the AUC, each training in a process of
its own, without the start of TensorFlow. *transfer* is held against the same backbone, frozen,
under Keras' `fit` with a Dense head and Adam at 1e-3; *scratch* against the network of a notebook
that many copied (five convolutions, 32 to 256 channels, RMSprop, augmentation, 12 epochs). Of a
rival that does not get there the seconds until it ends are given, and it is that many times slower,
or more. A step is one of *scratch*, augmentation apart, against Keras' `fit` on the same network,
each in a process of its own: ours with the deterministic operations that make a training come to
the same bytes again, `fit` as it comes. Its limit is how fast large float32 matrices are
multiplied, by the network's multiplications forward and twice as many back.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import training as recipes
from benchmarks.rows import Row, Setting, seconds, take_turns
from benchmarks.training import Outcome, ReachedError, class_folders, phantom, say

if TYPE_CHECKING:
    import keras

SIZE, IMAGES, BATCH = 128, 500, 32
TARGETS = {"transfer": 0.95, "scratch": 0.85}
EPOCHS = {"transfer": 30, "scratch": 12}  # that a rival is given; the notebook has 12
STEPS = 20  # a turn
SIDE = 2048  # of the matrices


def measure(setting: Setting) -> list[Row]:
    """Both trainings, less often than the rest, and a step."""
    data = phantom(IMAGES, setting.scratch / "prepared", SIZE)
    folders = class_folders(data, setting.scratch / "classes")
    turns = max(1, setting.turns // 2)
    rows = [_to_auc("transfer", recipes.ours, recipes.common, (data, folders), turns)]
    rows.append(_to_auc("scratch", scratch, notebook, (data, folders), turns))
    return [*rows, _step(setting.turns)]


def _to_auc(
    name: str,
    ours: Callable[..., Outcome],
    theirs: Callable[..., Outcome],
    images: tuple[Path, Path],
    turns: int,
) -> Row:
    target = TARGETS[name]
    outcomes: dict[str, list[Outcome]] = {"ours": [], "theirs": []}

    def spent(way: str, recipe: Callable[..., Outcome]) -> float:
        outcomes[way].append(recipes.alone(recipe, *images, target, EPOCHS[name]))
        return outcomes[way][-1].seconds

    ways = {"ours": partial(spent, "ours", ours), "theirs": partial(spent, "theirs", theirs)}
    found = take_turns(ways, turns, warm_up=False)
    rival = {"transfer": "a frozen backbone and `fit`", "scratch": "the notebook's network"}[name]
    what = f"{name}, to a validation AUC of {target}{_short(outcomes['ours'], target)}"
    rival += _short(outcomes["theirs"], target)
    return Row(what, "s", found["ours"], rival, found["theirs"])


def _short(outcomes: list[Outcome], target: float) -> str:
    """How often a way did not get there, and how far it came then; "" if it always did."""
    missed = [one.auc for one in outcomes if one.auc < target]
    if not missed:
        return ""
    return f"; not there in {len(missed)} of {len(outcomes)} turns ({min(missed):.3f})"


def scratch(data: Path, _: Path, target: float, __: int) -> Outcome:
    """The network from nothing as `train_scratch` trains it, until it is there."""
    from pneumonia.core.config import load_params
    from pneumonia.models import devices, loop, scratch
    from pneumonia.models.batches import load_training_images
    from pneumonia.models.checkpoint import Checkpoint

    params = load_params(recipes.ROOT / "params.yaml").train_scratch
    devices.be_deterministic(params.seed, params.precision)
    model = scratch.build(params, SIZE)
    history: list[loop.Epoch] = []
    begin = time.perf_counter()

    def check(row: loop.Epoch) -> None:
        say("ours", row, time.perf_counter() - begin)
        if row["val_auc"] >= target:
            raise ReachedError

    images = load_training_images(data)
    with tempfile.TemporaryDirectory() as folder, suppress(ReachedError):
        scratch.train(model, images, params, history, Checkpoint(Path(folder), ""), check)
    spent = time.perf_counter() - begin
    return Outcome(max(row["val_auc"] for row in history), len(history), spent)


def notebook(_: Path, folders: Path, target: float, epochs: int) -> Outcome:
    """The network and the training of the notebook."""
    import keras

    keras.utils.set_random_seed(7)
    model = _notebook_model()
    auc = keras.metrics.AUC(num_thresholds=2000, name="auc")
    model.compile("rmsprop", "binary_crossentropy", metrics=[auc])
    slower = keras.callbacks.ReduceLROnPlateau("val_auc", 0.3, 2, mode="max", min_lr=1e-6)
    return recipes.fit_until("notebook", model, folders, BATCH, 7, target, epochs, slower)


def _notebook_model() -> keras.Model:
    import keras
    from keras import layers

    model = keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 1)),
            layers.Rescaling(1 / 255),
            layers.RandomRotation(30 / 360),
            layers.RandomZoom(0.2),
            layers.RandomTranslation(0.1, 0.1),
            layers.RandomFlip("horizontal"),
        ]
    )
    for width, dropout in ((32, 0), (64, 0.1), (64, 0), (128, 0.2), (256, 0.2)):
        model.add(layers.Conv2D(width, 3, padding="same", activation="relu"))
        if dropout:
            model.add(layers.Dropout(dropout))
        model.add(layers.BatchNormalization())
        model.add(layers.MaxPooling2D(2, padding="same"))
    model.add(layers.Flatten())
    model.add(layers.Dense(128, activation="relu"))
    model.add(layers.Dropout(0.2))
    model.add(layers.Dense(1, activation="sigmoid"))
    return model


def _step(turns: int) -> Row:
    found = take_turns(
        {
            "ours": partial(recipes.alone, our_step),
            "fit": partial(recipes.alone, keras_step),
            "bound": partial(recipes.alone, products),
        },
        turns,
        warm_up=False,
    )
    what = f"a step of scratch, {BATCH} images of {SIZE} px"
    limit = "products of matrices"
    return Row(what, "images/s", found["ours"], "`fit`", found["fit"], limit, found["bound"])


def our_step() -> float:
    """Images a second of what `training.fit` calls for each batch."""
    import tensorflow as tf

    from pneumonia.core.config import load_params
    from pneumonia.models import devices, loop, scratch
    from pneumonia.models.loop import ModelEma, adamw, schedule

    params = load_params(recipes.ROOT / "params.yaml").train_scratch
    devices.be_deterministic(params.seed, params.precision)
    model = scratch.build(params, SIZE)
    weights = model.trainable_weights
    optimizer = adamw(
        schedule(params.learning_rate, 1000), params.weight_decay, [1.0] * len(weights),
        [0] * len(weights),
    )  # fmt: skip
    optimizer.build(weights)
    averages = ModelEma(model.weights, params.average)
    # Private, but the public function would time its stream and its validation as well.
    learn = loop._step(model, optimizer, averages, params.label_smoothing, BATCH)
    images, labels = _batch()
    batch = tuple(map(tf.constant, (images, labels, np.ones_like(labels))))
    float(learn(batch))
    return STEPS * BATCH / seconds(lambda: [float(learn(batch)) for _ in range(STEPS)])


def keras_step() -> float:
    """Images a second of Keras' `fit`, as it comes."""
    import keras
    import tensorflow as tf

    from pneumonia.core.config import load_params
    from pneumonia.models import loop, scratch

    params = load_params(recipes.ROOT / "params.yaml").train_scratch
    keras.utils.set_random_seed(params.seed)
    model = scratch.build(params, SIZE)
    model.compile(
        keras.optimizers.AdamW(params.learning_rate, clipnorm=loop.CLIP),
        keras.losses.BinaryCrossentropy(from_logits=True),
    )
    same = tf.data.Dataset.from_tensors(tuple(map(tf.constant, _batch()))).repeat(STEPS)
    model.fit(same, verbose=0)
    return STEPS * BATCH / seconds(lambda: model.fit(same, verbose=0))


def products() -> float:
    """Images a second, were a step but products of large matrices."""
    import tensorflow as tf

    from pneumonia.core.config import load_params
    from pneumonia.models import scratch

    model = scratch.build(load_params(recipes.ROOT / "params.yaml").train_scratch, SIZE)
    matrix = tf.random.uniform((SIDE, SIDE))
    product = tf.function(lambda: tf.reduce_sum(matrix @ matrix))
    float(product())
    took = seconds(lambda: [float(product()) for _ in range(STEPS)])
    # An image's multiplications, each with an addition, forward and twice as many back.
    return STEPS * 2 * SIDE**3 / took / (3 * 2 * multiplications(model))


def _batch() -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    rng = np.random.default_rng(7)
    images = rng.integers(0, 256, (BATCH, SIZE, SIZE, 1), np.uint8)
    return images, rng.integers(0, 2, (BATCH, 1)).astype(np.float32)


def multiplications(model: keras.Model) -> int:
    """Of numbers, in the convolutions and dense layers of one image's forward pass."""
    total = 0
    for layer in model.layers:
        if hasattr(layer, "kernel"):
            places: Any = np.prod(layer.output.shape[1:-1]) if layer.kernel.ndim == 4 else 1
            total += int(places * np.prod(layer.kernel.shape))
    return total
