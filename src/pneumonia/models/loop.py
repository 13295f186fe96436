"""AdamW with a rate for each block, and the average of the weights that it leaves behind.

The training loop both networks share, and what a training stage hands on.

Deterministic: the order of the images and every augmentation follow from the seed and the step, and
TensorFlow's operations are told to be deterministic, so the same images give the same bytes, also
when a training was killed and went on from its checkpoint.

A loop of our own rather than Keras' `fit`, which cannot go on in the middle of a schedule, average
batch-norm statistics, or give blocks rates of their own; it is as fast.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from pneumonia.core.config import TrainingParams
from pneumonia.models import devices
from pneumonia.models.batches import LabelledImages, batching, stream
from pneumonia.models.checkpoint import Checkpoint, State

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


WARM_UP = 0.05  # share of the steps over which the learning rate rises


def schedule(peak: float, steps: int) -> keras.optimizers.schedules.LearningRateSchedule:
    """From 0 up to `peak`, and down to 0 along half a cosine (Loshchilov & Hutter 2017)."""
    import keras

    return keras.optimizers.schedules.CosineDecay(
        0.0,
        decay_steps=max(1, math.ceil(steps * (1 - WARM_UP))),
        warmup_target=peak,
        warmup_steps=max(1, math.floor(steps * WARM_UP)),
    )


def adamw(
    learning_rate: keras.optimizers.schedules.LearningRateSchedule,
    decay: float,
    rates: Sequence[float],
    starts: Sequence[int],
) -> keras.optimizers.Optimizer:
    """AdamW (Loshchilov & Hutter 2019, algorithm 2) whose variables learn at rates of their own.

    Variables of one dimension (biases, the scales and offsets of norms) do not decay.

    Args:
        learning_rate: of a variable with rate 1.
        decay: decoupled; a step takes learning_rate * rate * decay off a weight.
        rates: factor on the learning rate, and so on the decay, of each variable, in the order in
            which `build` gets them (Howard & Ruder 2018, discriminative fine-tuning).
        starts: the step from which each variable learns; its moments' bias is corrected from
            there, or its first steps would be three times too long.
    """
    return _adamw_class()(learning_rate, decay, rates, starts)


@cache
def _adamw_class() -> type:
    import keras

    class AdamW(keras.optimizers.Adam):
        def __init__(
            self, learning_rate: Any, decay: float, rates: Sequence[float], starts: Sequence[int]
        ) -> None:
            super().__init__(learning_rate)
            self.decay, self.rates, self.starts = decay, list(rates), list(starts)

        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            index = self._get_variable_index(variable)
            momentum, velocity = self._momentums[index], self._velocities[index]
            rate = learning_rate * self.rates[index]
            step = keras.ops.cast(self.iterations - self.starts[index] + 1, "float32")
            corrected = keras.ops.sqrt(1 - self.beta_2**step) / (1 - self.beta_1**step)
            self.assign_add(momentum, (gradient - momentum) * (1 - self.beta_1))
            self.assign_add(velocity, (gradient * gradient - velocity) * (1 - self.beta_2))
            update = corrected * momentum / (keras.ops.sqrt(velocity) + self.epsilon)
            if len(variable.shape) > 1:
                update = update + self.decay * variable
            self.assign_sub(variable, rate * update)

    return AdamW


class ModelEma:
    """Exponential moving averages of a model's weights, batch-norm statistics among them.

    After step t (from 1) an average moves by 1 - min(decay, (1 + t) / (10 + t)) of its distance
    from the weight: at first it follows closely, so that a short training is not held back by
    the weights that it began with. Statistics are averaged alike, and so belong to the averaged
    weights (Izmailov et al. 2018 and Tan & Le 2019 for the idea).
    """

    def __init__(self, weights: Sequence[keras.Variable], decay: float) -> None:
        import tensorflow as tf

        self.decay = decay
        self.weights = list(weights) if decay else []
        # On the first device only: they are read between epochs, and the replicas agree.
        self.values = [tf.Variable(weight.numpy(), trainable=False) for weight in self.weights]

    def update(self, step: tf.Tensor) -> None:
        """Follow the weights after a step, counted from 1. In a graph, between replicas."""
        import tensorflow as tf

        step = tf.cast(step, tf.float32)
        part = 1 - tf.minimum(self.decay, (1 + step) / (10 + step))
        for value, weight in zip(self.values, self.weights, strict=True):
            value.assign_add(part * (tf.convert_to_tensor(weight) - value))

    def keep(self) -> None:
        """Give the model the averages for good."""
        for value, weight in zip(self.values, self.weights, strict=True):
            weight.assign(value.numpy())

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Give the model the averages for a while."""
        raw = [weight.numpy() for weight in self.weights]
        self.keep()
        try:
            yield
        finally:
            for value, weight in zip(raw, self.weights, strict=True):
                weight.assign(value)


Epoch = dict[str, float]
OnEpoch = Callable[[Epoch], None]
Forward = Callable[[NDArray[np.uint8]], NDArray[np.float32]]

CLIP = 1.0  # norm of all gradients of a step together


@dataclass(frozen=True)
class Group:
    """Layers that learn alike.

    Attributes:
        layers: all their weights learn, so the group leaves out batch norms that stay frozen.
        rate: factor on the learning rate.
        opens: the epoch, from 1, in which they begin to learn.
    """

    layers: Sequence[keras.layers.Layer]
    rate: float = 1.0
    opens: int = 1


def fit(
    model: keras.Model,
    groups: Sequence[Group],
    images: tuple[LabelledImages, LabelledImages],
    params: TrainingParams,
    epochs: int,
    history: list[Epoch],
    checkpoint: Checkpoint | None,
    on_epoch: OnEpoch,
) -> None:
    """Train groups of layers: AdamW, warm-up, cosine decay to zero, clipping, smoothed labels.

    What is validated and kept are the averaged weights, and those of the last epoch, not the best:
    with the rate at zero they are the settled ones, and validation, which saturates on this task,
    is not spent on choosing.

    Args:
        model: built in the scope of a strategy, whose replicas share each batch; all else frozen.
        groups: what learns.
        images: to train on, and to validate with.
        params: the stage's block.
        epochs: passes over the training images.
        history: gets a row an epoch: epoch (from 1), loss, val_loss, val_auc, learning_rate. Rows
            that a checkpoint holds are put in its place first.
        checkpoint: where to go on, and where to keep each epoch; None on a host that is not the
            chief, which goes on from the chief's.
        on_epoch: called with each row once it is safe.
    """
    import keras

    train, val = images
    cut = batching(train, params)
    strategy = model.distribute_strategy
    _freeze(model)
    weights: list[keras.Variable] = []
    rates, starts = [], []
    for group in groups:
        _open(group)
        own = [weight for layer in group.layers for weight in layer.trainable_weights]
        weights += own
        rates += [group.rate] * len(own)
        starts += [(group.opens - 1) * cut.steps] * len(own)
    changing = [weight for group in groups for layer in group.layers for weight in layer.weights]
    with strategy.scope():
        optimizer = adamw(
            schedule(params.learning_rate, cut.steps * epochs), params.weight_decay, rates, starts
        )
        optimizer.build(weights)
    if strategy.num_replicas_in_sync > 1:
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = True
    averages = ModelEma(changing, params.average)
    state = [*model.variables, *optimizer.variables, *averages.values]
    _resume(checkpoint, state, history)
    devices.share(strategy, state, history)
    done = int(history[-1]["epoch"]) if history else 0
    _freeze(model)

    parts = stream(strategy, train, params, done, epochs)
    infer, step, learning = forward(model), None, 0
    with _bar(model.name, cut.steps * epochs, cut.steps * done, history) as bar:
        for epoch in range(done + 1, epochs + 1):
            now = [group for group in groups if group.opens <= epoch]
            if step is None or len(now) > learning:
                learning = len(now)
                for group in now:
                    _open(group)
                step = _step(model, optimizer, averages, params.label_smoothing, cut.size)
            total = 0.0
            for number in range(1, cut.steps + 1):
                total += float(step(next(parts)))
                bar.say(loss=total / number)
            with averages.swapped_in():
                validation = validate(infer, val)
            rate = float(optimizer.learning_rate)
            row = {"epoch": epoch, "loss": total / cut.steps, **validation, "learning_rate": rate}
            history.append(row)
            bar.say(val_auc=row["val_auc"])
            if checkpoint:
                checkpoint.save(State(history, [variable.numpy() for variable in state]))
            on_epoch(row)
    averages.keep()


def _freeze(model: keras.Model) -> None:
    for layer in model.layers:
        layer.trainable = False


def _open(group: Group) -> None:
    for layer in group.layers:
        layer.trainable = True


def _resume(checkpoint: Checkpoint | None, state: list[Any], history: list[Epoch]) -> None:
    """Put a checkpoint in place, if there is one."""
    found = checkpoint.load() if checkpoint else None
    if found:
        for variable, value in zip(state, found.arrays, strict=True):
            variable.assign(value)
        history[:] = found.history


def _step(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    averages: ModelEma,
    smoothing: float,
    batch_size: int,
) -> Callable[[Any], tf.Tensor]:
    """One step on a batch, compiled for the weights that are trainable now; gives its loss."""
    import tensorflow as tf

    strategy = model.distribute_strategy
    weights = model.trainable_weights

    def replica(images: tf.Tensor, labels: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            losses = tf.nn.sigmoid_cross_entropy_with_logits(
                labels * (1 - smoothing) + 0.5 * smoothing, model(images, training=True)
            )
            # By the images of all replicas: the optimizer adds their gradients up.
            loss = tf.reduce_sum(losses * counts) / batch_size
        # One bad batch at a high rate can end a fine-tuning. The norm is that of the gradients of
        # all replicas together, which the optimizer adds up.
        gradients = tape.gradient(loss, weights)
        together = tf.distribute.get_replica_context().all_reduce("SUM", gradients)
        scale = CLIP / tf.maximum(tf.linalg.global_norm(together), CLIP)
        gradients = [gradient * scale for gradient in gradients]
        optimizer.apply(gradients, weights)
        return loss

    @tf.function(jit_compile=False)
    def step(batch: Any) -> tf.Tensor:
        loss = strategy.reduce(tf.distribute.ReduceOp.SUM, strategy.run(replica, batch), axis=None)
        averages.update(optimizer.iterations)
        return loss

    return step


def forward(model: keras.Model, name: str = "") -> Forward:
    """The model's answers to images, uint8 (N, S, S, 1), in batches of 64, without training.

    With a name there is a bar.
    """
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((None, *model.input.shape[1:]), tf.uint8)])
    def answers(images: tf.Tensor) -> tf.Tensor:
        return model(images, training=False)

    def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        disable = _quiet() if name else True
        starts = tqdm(range(0, len(images), 64), desc=name, mininterval=1, disable=disable)
        return np.concatenate([answers(images[start : start + 64]).numpy() for start in starts])

    return run


def validate(infer: Forward, val: LabelledImages) -> Epoch:
    """Loss and AUC on the validation images, without augmentation and label smoothing."""
    from sklearn.metrics import log_loss, roc_auc_score

    logits = infer(val.images)[:, 0].astype(np.float64)
    probability = 1 / (1 + np.exp(-logits))
    return {
        "val_loss": float(log_loss(val.labels, probability)),
        "val_auc": float(roc_auc_score(val.labels, logits)),
    }


def _quiet() -> bool | None:
    """For tqdm: no bar where standard error is no terminal, or on a host that is not the chief."""
    return None if devices.training_host().chief else True


class _Bar:
    """A bar over all steps of a training: loss, last validation AUC, time left."""

    def __init__(self, bar: tqdm[Any], history: list[Epoch]) -> None:
        self.bar = bar
        self.figures = {"val_auc": history[-1]["val_auc"]} if history else {}

    def say(self, **figures: float) -> None:
        """Show figures; a loss ends a step."""
        self.figures |= figures
        shown = {name: f"{value:.4f}" for name, value in self.figures.items()}
        self.bar.set_postfix(shown, refresh=False)
        if "loss" in figures:
            self.bar.update()


@contextmanager
def _bar(name: str, total: int, done: int, history: list[Epoch]) -> Iterator[_Bar]:
    with tqdm(
        desc=name, total=total, initial=done, unit="step", mininterval=1, disable=_quiet()
    ) as bar:
        yield _Bar(bar, history)


def recorder(name: str, log_epoch: OnEpoch | None = None) -> OnEpoch:
    """What to do after an epoch: log it, say it in a line."""

    def record(epoch: Epoch) -> None:
        if log_epoch:
            log_epoch(epoch)
        figures = ", ".join(
            f"{key} {epoch[key]:.4f}" for key in ("loss", "val_loss", "val_auc") if key in epoch
        )
        tqdm.write(f"{name} epoch {epoch['epoch']}: {figures}", file=sys.stdout)
        sys.stdout.flush()

    return record
