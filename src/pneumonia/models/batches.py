"""The images of a training, in batches that follow from the seed and the step alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pneumonia.core.config import TrainingParams
from pneumonia.core.errors import InputError
from pneumonia.datasets.manifest import load_images, read_manifest
from pneumonia.models import devices
from pneumonia.models.augmentation import augment

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True)
class LabelledImages:
    """A split in memory: images uint8 (N, S, S, 1), labels float32 (N,), 0 or 1."""

    images: NDArray[np.uint8]
    labels: NDArray[np.float32]


@dataclass(frozen=True)
class Batching:
    """How a training is cut up: images a step, steps an epoch (what is left over is dropped)."""

    size: int
    steps: int


def load_training_images(folder: Path) -> tuple[LabelledImages, LabelledImages]:
    """The training and the validation images of a prepared folder."""
    table = read_manifest(folder)
    images = []
    for split in ("train", "val"):
        rows = table[table["split"] == split]
        images.append(LabelledImages(load_images(folder, rows), rows["label"].to_numpy(np.float32)))
    return images[0], images[1]


def batching(train: LabelledImages, params: TrainingParams) -> Batching:
    """Batches of `batch_size`, or of all images where there are fewer."""
    size = min(params.batch_size, len(train.labels))
    return Batching(size, len(train.labels) // size)


def class_weights(labels: NDArray[np.float32]) -> NDArray[np.float32]:
    """What each image counts, (N,), mean 1, when both classes count alike."""
    share = labels.mean()
    return np.where(labels == 1, 0.5 / share, 0.5 / (1 - share)).astype(np.float32)


def epoch_order(
    labels: NDArray[np.float32], params: TrainingParams, epoch: int
) -> NDArray[np.int64]:
    """Rows in the order in which an epoch (from 0) takes them, (N,).

    Every image once; with balance: sampling as many of either class, so that images of the smaller
    one come several times and of the larger one some not at all, others in each epoch.
    """
    rng = np.random.default_rng([params.seed, epoch])
    if params.balance != "sampling":
        return rng.permutation(len(labels))
    halves = []
    for label, count in ((0, len(labels) // 2), (1, len(labels) - len(labels) // 2)):
        rows = np.flatnonzero(labels == label)
        times = -(-count // len(rows))
        halves.append(np.concatenate([rng.permutation(rows) for _ in range(times)])[:count])
    return rng.permutation(np.concatenate(halves))


def stream(
    strategy: tf.distribute.Strategy,
    train: LabelledImages,
    params: TrainingParams,
    first: int,
    last: int,
) -> Iterator[Any]:
    """The batches of `batches` as `strategy` wants them, each replica its share.

    One host makes a batch and hands it to its devices. Of several each makes its own replicas'
    share, from the same order of the images, so that nothing is done twice and no image is sent.
    """
    if not devices.training_host().several:
        return iter(strategy.experimental_distribute_dataset(batches(train, params, first, last)))

    def shares(context: tf.distribute.InputContext) -> tf.data.Dataset:
        here = context.num_replicas_in_sync // context.num_input_pipelines
        own = range(context.input_pipeline_id * here, (context.input_pipeline_id + 1) * here)
        return batches(train, params, first, last, context.num_replicas_in_sync, own)

    return iter(strategy.distribute_datasets_from_function(shares))


def batches(
    train: LabelledImages, params: TrainingParams, first: int, last: int,
    parts: int = 1, own: range = range(1),
) -> tf.data.Dataset:  # fmt: skip
    """The augmented batches (images, labels, weights) of epochs `first` to `last`, from 0.

    Shapes: uint8 (B, S, S, 1), float32 (B, 1), float32 (B, 1). Batch k counts from the start of the
    training and is the same in every run, also in one that begins in the middle. Without `last`.

    Args:
        train, params, first, last: the images, the stage's block, the epochs.
        parts: into how many parts each batch is cut, as even as can be.
        own: which of them come, one after the other; each is what it would be in the whole batch.

    Raises:
        InputError: a batch has fewer images than parts.
    """
    import tensorflow as tf

    cut = batching(train, params)
    if cut.size < parts:
        raise InputError(f"batch_size: {cut.size} images a step are not enough for {parts} devices")
    images, labels = tf.constant(train.images), tf.constant(train.labels[:, None])
    weights = np.ones_like(train.labels)
    if params.balance == "weights":
        weights = class_weights(train.labels)
    weights = tf.constant(weights[:, None])
    orders = [epoch_order(train.labels, params, epoch) for epoch in range(first, last)]
    kept = [order[: cut.steps * cut.size] for order in orders]
    # No epoch is left where a training was killed after its last one.
    rows = np.array(kept, np.int64).reshape(-1, cut.size)

    def share(part: int) -> tf.data.Dataset:
        start, end = part * cut.size // parts, (part + 1) * cut.size // parts

        def batch(step: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            # Two numbers a step: the noise takes the odd one.
            seed = tf.stack([tf.constant(params.seed, tf.int32), tf.cast(2 * step, tf.int32)])
            whole = cut.size if parts > 1 else 0
            changed = augment(tf.gather(images, rows), params.augment, seed, start, whole)
            return changed, tf.gather(labels, rows), tf.gather(weights, rows)

        mine = rows[:, start:end]
        dataset = tf.data.Dataset.from_tensor_slices(mine)
        dataset = dataset.enumerate(start=first * cut.steps)
        return dataset.map(batch, num_parallel_calls=2, deterministic=True).prefetch(4)

    shares = [share(part) for part in own]
    dataset = shares[0]
    if len(shares) > 1:
        turns = tf.data.Dataset.range(len(shares)).repeat()
        dataset = tf.data.Dataset.choose_from_datasets(shares, turns)
    # Threads of its own: the one that the operations of the training share would leave it no time.
    options = tf.data.Options()
    options.threading.private_threadpool_size = 2
    return dataset.with_options(options)
