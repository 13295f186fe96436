"""Make the batches of training images; only the seed and the step determine a batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pneumonia.core.config import AugmentParams, TrainingParams
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
class TrainingData:
    """The training images, the validation images, and how training images are augmented."""

    train: LabelledImages
    val: LabelledImages
    augment: AugmentParams

    @property
    def size(self) -> int:
        """The side of the square images in pixels."""
        return self.train.images.shape[1]


def load_training_data(folder: Path, augment: AugmentParams) -> TrainingData:
    """Load the training and the validation images of a prepared folder."""
    table = read_manifest(folder)
    splits = []
    for split in ("train", "val"):
        rows = table[table["split"] == split]
        splits.append(LabelledImages(load_images(folder, rows), rows["label"].to_numpy(np.float32)))
    return TrainingData(splits[0], splits[1], augment)


def epoch_steps(train: LabelledImages, params: TrainingParams) -> tuple[int, int]:
    """The images per batch and the steps per epoch: only whole batches, and at least one."""
    size = min(params.batch_size, len(train.labels))
    return size, len(train.labels) // size


def class_weights(labels: NDArray[np.float32]) -> NDArray[np.float32]:
    """A weight for each image, (N,), mean 1; both classes have the same sum of weights."""
    share = labels.mean()
    return np.where(labels == 1, 0.5 / share, 0.5 / (1 - share)).astype(np.float32)


def epoch_order(
    labels: NDArray[np.float32], params: TrainingParams, epoch: int
) -> NDArray[np.int64]:
    """The order of the images in an epoch (from 0), as rows, (N,).

    Normally each image comes once. With `balance: sampling` half of the rows are of each class:
    images of the smaller class come several times, and some images of the larger class are left
    out. Each epoch leaves out other images.
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
    strategy: tf.distribute.Strategy, data: TrainingData, params: TrainingParams, first: int,
    last: int,
) -> Iterator[Any]:  # fmt: skip
    """Divide the batches of the function `batches` among the replicas of `strategy`.

    A single host makes whole batches and passes parts to its devices. If there are several hosts,
    each host makes only the parts for its own replicas. All hosts use the same order of the images,
    so no work is done twice and no image is sent from one host to another.
    """
    arguments = data.train, params, data.augment, first, last
    if not devices.training_host().is_distributed:
        return iter(strategy.experimental_distribute_dataset(batches(*arguments)))

    def shares(context: tf.distribute.InputContext) -> tf.data.Dataset:
        count = context.num_replicas_in_sync // context.num_input_pipelines
        own = range(context.input_pipeline_id * count, (context.input_pipeline_id + 1) * count)
        return batches(*arguments, context.num_replicas_in_sync, own)

    return iter(strategy.distribute_datasets_from_function(shares))


def batches(
    train: LabelledImages, params: TrainingParams, augmentation: AugmentParams,
    first: int, last: int, parts: int = 1, own: range = range(1),
) -> tf.data.Dataset:  # fmt: skip
    """The augmented batches (images, labels, weights) of epochs `first` to `last` - 1, from 0.

    Shapes: uint8 (B, S, S, 1), float32 (B, 1), float32 (B, 1). Batches are numbered from the start
    of the training. A batch with a given number is the same in every run, also in a resumed run.

    Args:
        train, params, augmentation, first, last: images, both kinds of params, and the epochs.
        parts: the number of parts of each batch; their sizes are as equal as possible.
        own: the parts to return, in this order; a part is the same as in the whole batch.

    Raises:
        InputError: a batch has fewer images than parts.
    """
    import tensorflow as tf

    size, steps = epoch_steps(train, params)
    if size < parts:
        raise InputError(f"batch_size: {size} images a step are not enough for {parts} devices")
    images, labels = tf.constant(train.images), tf.constant(train.labels[:, None])
    weights = np.ones_like(train.labels)
    if params.balance == "weights":
        weights = class_weights(train.labels)
    weights = tf.constant(weights[:, None])
    orders = [epoch_order(train.labels, params, epoch) for epoch in range(first, last)]
    # `rows` is empty if the training was killed after its last epoch.
    rows = np.array([order[: steps * size] for order in orders], np.int64).reshape(-1, size)

    def share(part: int) -> tf.data.Dataset:
        start, end = part * size // parts, (part + 1) * size // parts

        def batch(step: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            # Each step has two seeds: an even one, and the next odd one for the noise.
            seed = tf.stack([tf.constant(params.seed, tf.int32), tf.cast(2 * step, tf.int32)])
            whole = size if parts > 1 else 0
            changed = augment(tf.gather(images, rows), augmentation, seed, start, whole)
            return changed, tf.gather(labels, rows), tf.gather(weights, rows)

        dataset = tf.data.Dataset.from_tensor_slices(rows[:, start:end])
        dataset = dataset.enumerate(start=first * steps)
        return dataset.map(batch, num_parallel_calls=2, deterministic=True).prefetch(4)

    shares = [share(part) for part in own]
    dataset = shares[0]
    if len(shares) > 1:
        turns = tf.data.Dataset.range(len(shares)).repeat()
        dataset = tf.data.Dataset.choose_from_datasets(shares, turns)
    # The dataset needs its own threads: training operations would fill the common thread pool.
    options = tf.data.Options()
    options.threading.private_threadpool_size = 2
    return dataset.with_options(options)
