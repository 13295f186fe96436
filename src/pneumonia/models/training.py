"""The training loop both networks share, and what a training stage hands on.

Deterministic: the order of the films and every augmentation follow from the seed and the step, and
TensorFlow's operations are told to be deterministic, so the same films give the same bytes.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import log_loss, roc_auc_score
from tqdm import tqdm

from pneumonia.data.manifest import digest, load_images, read_manifest
from pneumonia.models.augment import augment
from pneumonia.params import TrainingParams
from pneumonia.stage import write_json

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

Epoch = dict[str, float]
OnEpoch = Callable[[Epoch], None]
WARM_UP = 0.05  # share of the steps over which the learning rate rises


@dataclass(frozen=True)
class Films:
    """A split in memory: images uint8 (N, S, S, 1), labels float32 (N,), 0 or 1."""

    images: NDArray[np.uint8]
    labels: NDArray[np.float32]


def load_films(folder: Path) -> tuple[Films, Films]:
    """The training and the validation films of a prepared folder."""
    table = read_manifest(folder)
    films = []
    for split in ("train", "val"):
        rows = table[table["split"] == split]
        films.append(Films(load_images(folder, rows), rows["label"].to_numpy(np.float32)))
    return films[0], films[1]


def be_deterministic(seed: int) -> None:
    """Seed every generator and ask TensorFlow for deterministic operations. Before building."""
    with _quiet():
        import keras
        import tensorflow as tf

    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    # Not enough alone: on a busy machine operations that may run side by side sometimes give other
    # last digits, and a training ends elsewhere. One at a time; each still uses all cores.
    try:
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        # TensorFlow has begun to compute, in a notebook or a test; a stage calls this first.
        warnings.warn("TensorFlow is running: equal bytes are not certain", stacklevel=2)


@contextmanager
def _quiet() -> Iterator[None]:
    """Send the file descriptor of standard error nowhere.

    TensorFlow greets from C++ before any of its log settings count; an error that stops the import
    is a Python exception and still comes through.
    """
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def film_weights(labels: NDArray[np.float32], params: TrainingParams) -> NDArray[np.float32]:
    """What each film counts in the loss, (N,), mean 1: all alike, or both classes alike."""
    if not params.class_weights:
        return np.ones_like(labels)
    share = labels.mean()
    return np.where(labels == 1, 0.5 / share, 0.5 / (1 - share)).astype(np.float32)


def fit(
    model: keras.Model,
    train: Films,
    val: Films,
    params: TrainingParams,
    epochs: int,
    on_epoch: OnEpoch,
) -> None:
    """Train the trainable weights: AdamW, warm-up, cosine decay to zero, smoothed labels.

    The last epoch's weights are kept, not the best epoch's: with the rate at zero they are the
    settled ones, and validation, which saturates on this task, is not spent on choosing.

    Args:
        model: compiled here.
        train, val: films.
        params: the stage's block.
        epochs: passes over `train`.
        on_epoch: called after each with epoch (from 1), loss, val_loss, val_auc and learning_rate.
    """
    import keras

    batch_size = min(params.batch_size, len(train.labels))
    steps = len(train.labels) // batch_size
    optimizer = keras.optimizers.AdamW(
        keras.optimizers.schedules.CosineDecay(
            0.0,
            decay_steps=max(1, math.ceil(steps * epochs * (1 - WARM_UP))),
            warmup_target=params.learning_rate,
            warmup_steps=max(1, math.floor(steps * epochs * WARM_UP)),
        ),
        weight_decay=params.weight_decay,
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    model.compile(
        optimizer,
        keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=params.label_smoothing),
        jit_compile=False,
    )
    batches = iter(_batches(train, params, batch_size, steps * epochs))
    for epoch in range(1, epochs + 1):
        model.reset_metrics()
        loss = math.nan
        bar = tqdm(
            range(steps),
            desc=f"{model.name} {epoch}/{epochs}",
            unit="step",
            mininterval=1,
            disable=None,
        )
        for _ in bar:
            # Keras gives the mean since the reset.
            loss = float(model.train_on_batch(*next(batches)))
            bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
        on_epoch(
            {
                "epoch": epoch,
                "loss": loss,
                **validate(model, val),
                "learning_rate": float(optimizer.learning_rate),
            }
        )


def recorder(name: str, history: list[Epoch], log_epoch: OnEpoch) -> OnEpoch:
    """What to do after an epoch: keep it in `history`, log it, say it in a line."""

    def record(epoch: Epoch) -> None:
        history.append(epoch)
        log_epoch(epoch)
        figures = ", ".join(
            f"{key} {epoch[key]:.4f}" for key in ("loss", "val_loss", "val_auc") if key in epoch
        )
        print(f"{name} epoch {epoch['epoch']}: {figures}", flush=True)

    return record


def validate(model: keras.Model, val: Films) -> Epoch:
    """Loss and AUC on the validation films, without augmentation and label smoothing."""
    logits = model.predict(val.images, batch_size=64, verbose=0)[:, 0].astype(np.float64)
    probability = 1 / (1 + np.exp(-logits))
    return {
        "val_loss": float(log_loss(val.labels, probability)),
        "val_auc": float(roc_auc_score(val.labels, logits)),
    }


def _batches(train: Films, params: TrainingParams, batch_size: int, total: int) -> tf.data.Dataset:
    """`total` augmented batches (images, labels, weights); batch k is the same in every run."""
    import tensorflow as tf

    per_epoch = len(train.labels) // batch_size
    images, labels = tf.constant(train.images), tf.constant(train.labels[:, None])
    weights = tf.constant(film_weights(train.labels, params)[:, None])

    def order() -> NDArray[np.int64]:
        epochs = [
            np.random.default_rng([params.seed, epoch]).permutation(len(train.labels))
            for epoch in range(-(-total // per_epoch))
        ]
        whole = [epoch[: per_epoch * batch_size].reshape(-1, batch_size) for epoch in epochs]
        return np.concatenate(whole)

    def batch(step: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        seed = tf.stack([tf.constant(params.seed, tf.int32), tf.cast(2 * step, tf.int32)])
        films = augment(tf.gather(images, rows), params.augment, seed)
        return films, tf.gather(labels, rows), tf.gather(weights, rows)

    dataset = tf.data.Dataset.from_tensor_slices(order()).enumerate()
    dataset = dataset.map(batch, num_parallel_calls=2, deterministic=True).prefetch(4)
    # Threads of its own: the one that the operations of the training share would leave it no time.
    options = tf.data.Options()
    options.threading.private_threadpool_size = 2
    return dataset.with_options(options)


def save_model(
    model: keras.Model, history: list[Epoch], params: TrainingParams, data: Path, folder: Path
) -> None:
    """Write what a training stage hands on; nothing in it depends on clock or place.

    Files: `weights.weights.h5` (Keras), `graph.onnx`, `history.csv` (a row an epoch),
    `metrics.json` (of the last epoch), `training.json` (params and the data's digest, from which a
    lost MLflow run can be made again).
    """
    from pneumonia.models.export import export

    model.save_weights(folder / "weights.weights.h5")
    export(model, folder / "graph.onnx")
    pd.DataFrame(history).to_csv(folder / "history.csv", index=False, lineterminator="\n")
    last = {key: value for key, value in history[-1].items() if key != "learning_rate"}
    write_json(folder / "metrics.json", last)
    record = {
        "model": model.name,
        "params": params.model_dump(),
        "data_digest": digest(data),
        "weights": int(model.count_params()),
    }
    write_json(folder / "training.json", record)
