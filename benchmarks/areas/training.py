"""Training to the same validation AUC, and a training step.

The data are about 500 drawn training images and 70 validation images of 128 px. The time is
measured from images on disk to the end of the first epoch that reaches the AUC, without the start
of TensorFlow; each training runs in its own process. The alternative to *transfer* is the same
frozen backbone with a Dense head, trained by Keras' `fit` with Adam at 1e-3. The alternative to
*scratch* is the network of a popular notebook (five convolutions with 32 to 256 channels, RMSprop,
augmentation, 12 epochs). If an alternative does not reach the AUC, its total time counts, and
*times better* is a lower bound.

The training step is a step of *scratch*, without augmentation. The alternative is Keras' `fit` of
the same network. Each of the two runs in its own process. This project uses deterministic
operations, so that a repeated training gives the same bytes; `fit` runs with default settings. The
limit is the speed of multiplying large float32 matrices, with the network's number of
multiplications for the forward pass and twice as many for the backward pass.
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
from benchmarks.measurement import Row, Setting, seconds, take_turns
from benchmarks.training import Outcome, ReachedError, class_folders, phantom, print_epoch

if TYPE_CHECKING:
    import keras

SIZE, IMAGES, BATCH = 128, 500, 32
TARGETS = {"transfer": 0.95, "scratch": 0.85}
EPOCHS = {"transfer": 30, "scratch": 12}  # at most, for the alternatives; the notebook has 12
STEPS = 20  # in a turn
SIDE = 2048  # rows and columns of the matrices


def measure(setting: Setting) -> list[Row]:
    """Both trainings, in half as many turns, and a training step."""
    data = phantom(IMAGES, setting.scratch / "prepared", SIZE)
    folders = class_folders(data, setting.scratch / "classes")
    turns = max(1, setting.turns // 2)
    rows = [_to_auc("transfer", recipes.ours, recipes.frozen_backbone, (data, folders), turns)]
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

    def spent(side: str, recipe: Callable[..., Outcome]) -> float:
        outcomes[side].append(recipes.in_new_process(recipe, *images, target, EPOCHS[name]))
        return outcomes[side][-1].seconds

    functions = {"ours": partial(spent, "ours", ours), "theirs": partial(spent, "theirs", theirs)}
    values = take_turns(functions, turns, warm_up=False)
    alternative = {"transfer": "a frozen backbone and `fit`", "scratch": "the notebook's network"}[
        name
    ]
    task = f"{name}, to a validation AUC of {target}{_missed(outcomes['ours'], target)}"
    alternative += _missed(outcomes["theirs"], target)
    return Row(task, "s", values["ours"], alternative, values["theirs"])


def _missed(outcomes: list[Outcome], target: float) -> str:
    """How often the target was not reached, and the lowest AUC then; "" if it always was."""
    missed = [outcome.auc for outcome in outcomes if outcome.auc < target]
    if not missed:
        return ""
    return f"; not reached in {len(missed)} of {len(outcomes)} turns ({min(missed):.3f})"


def scratch(data: Path, _: Path, target: float, __: int) -> Outcome:
    """Train the network as `train_scratch` does, until it reaches the target."""
    from pneumonia.core.config import load_params
    from pneumonia.models import devices, loop, scratch
    from pneumonia.models.batches import load_training_data
    from pneumonia.models.checkpoint import Checkpoint

    loaded = load_params(recipes.ROOT / "params.yaml")
    params = loaded.train_scratch
    devices.make_deterministic(params.seed, params.precision)
    model = scratch.build(params, SIZE)
    history: list[loop.Epoch] = []
    begin = time.perf_counter()

    def check(row: loop.Epoch) -> None:
        print_epoch("ours", row, time.perf_counter() - begin)
        if row["val_auc"] >= target:
            raise ReachedError

    images = load_training_data(data, loaded.augment)
    with tempfile.TemporaryDirectory() as folder, suppress(ReachedError):
        scratch.train(model, images, params, history, Checkpoint(Path(folder), ""), check)
    spent = time.perf_counter() - begin
    return Outcome(max(row["val_auc"] for row in history), len(history), spent)


def notebook(_: Path, folders: Path, target: float, epochs: int) -> Outcome:
    """Train the network of the notebook, as the notebook does."""
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
    values = take_turns(
        {
            "ours": partial(recipes.in_new_process, our_step),
            "fit": partial(recipes.in_new_process, keras_step),
            "bound": partial(recipes.in_new_process, products),
        },
        turns,
        warm_up=False,
    )
    task = f"a step of scratch, {BATCH} images of {SIZE} px"
    limit = "matrix multiplication"
    return Row(task, "images/s", values["ours"], "`fit`", values["fit"], limit, values["bound"])


def our_step() -> float:
    """Images per second of the function that `loop.fit` calls for each batch."""
    import tensorflow as tf

    from pneumonia.core.config import load_params
    from pneumonia.models import devices, loop, scratch
    from pneumonia.models.loop import ModelEma, adamw, schedule

    params = load_params(recipes.ROOT / "params.yaml").train_scratch
    devices.make_deterministic(params.seed, params.precision)
    model = scratch.build(params, SIZE)
    weights = model.trainable_weights
    optimizer = adamw(
        schedule(params.learning_rate, 1000), params.weight_decay, [1.0] * len(weights),
        [0] * len(weights),
    )  # fmt: skip
    optimizer.build(weights)
    ema = ModelEma(model.weights, params.ema_decay)
    # Private, because the public function also augments and validates.
    learn = loop._compile_step(model, optimizer, ema, params.label_smoothing, BATCH)
    images, labels = _batch()
    batch = tuple(map(tf.constant, (images, labels, np.ones_like(labels))))
    float(learn(batch))
    return STEPS * BATCH / seconds(lambda: [float(learn(batch)) for _ in range(STEPS)])


def keras_step() -> float:
    """Images per second of Keras' `fit` with default settings."""
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
    """Images per second if a step consisted of large matrix multiplications only."""
    import tensorflow as tf

    from pneumonia.core.config import load_params
    from pneumonia.models import scratch

    model = scratch.build(load_params(recipes.ROOT / "params.yaml").train_scratch, SIZE)
    matrix = tf.random.uniform((SIDE, SIDE))
    product = tf.function(lambda: tf.reduce_sum(matrix @ matrix))
    float(product())
    spent = seconds(lambda: [float(product()) for _ in range(STEPS)])
    # For each image: the multiplications, each with an addition, of the forward pass and twice as
    # many of the backward pass.
    return STEPS * 2 * SIDE**3 / spent / (3 * 2 * multiplications(model))


def _batch() -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    rng = np.random.default_rng(7)
    images = rng.integers(0, 256, (BATCH, SIZE, SIZE, 1), np.uint8)
    return images, rng.integers(0, 2, (BATCH, 1)).astype(np.float32)


def multiplications(model: keras.Model) -> int:
    """Multiplications in the convolutions and dense layers, in the forward pass of one image."""
    total = 0
    for layer in model.layers:
        if hasattr(layer, "kernel"):
            positions: Any = np.prod(layer.output.shape[1:-1]) if layer.kernel.ndim == 4 else 1
            total += int(positions * np.prod(layer.kernel.shape))
    return total
