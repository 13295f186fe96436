"""The training loop of both networks, its optimizer, and the moving average of the weights.

The loop is deterministic: seed and step decide the order of the images and every augmentation, and
TensorFlow's operations are set to be deterministic. So the same images give exactly the same bytes
of weights, even if a training was killed and continued from its checkpoint.

The loop does not use Keras' `fit`, because `fit` cannot continue in the middle of a schedule,
average batch-norm statistics, or give each block its own learning rate. The loop is as fast as
`fit`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from pneumonia.core.config import TrainingParams
from pneumonia.models import devices
from pneumonia.models.batches import LabelledImages, TrainingData, epoch_steps, stream
from pneumonia.models.checkpoint import Checkpoint, TrainingState

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


WARM_UP = 0.05  # share of the steps in which the learning rate rises


def schedule(peak: float, steps: int) -> keras.optimizers.schedules.LearningRateSchedule:
    """Rise linearly from 0 to `peak`, then fall to 0 by a cosine (Loshchilov & Hutter 2017)."""
    import keras

    return keras.optimizers.schedules.CosineDecay(
        0.0,
        decay_steps=max(1, math.ceil(steps * (1 - WARM_UP))),
        warmup_target=peak,
        warmup_steps=max(1, math.floor(steps * WARM_UP)),
    )


def adamw(
    learning_rate: keras.optimizers.schedules.LearningRateSchedule, decay: float,
    rates: Sequence[float], starts: Sequence[int],
) -> keras.optimizers.Optimizer:  # fmt: skip
    """AdamW (Loshchilov & Hutter 2019, algorithm 2) with a learning rate for each variable.

    Variables with one dimension (biases, scales and offsets of norms) get no weight decay.

    Args:
        learning_rate: the learning rate of a variable whose factor in `rates` is 1.
        decay: a step subtracts learning_rate * rate * decay * weight from a weight (decoupled).
        rates: a factor for each variable, on its learning rate and so on its decay, in the order of
            `build` (Howard & Ruder 2018, discriminative fine-tuning).
        starts: the step from which each variable learns. The bias correction of its moments counts
            from this step; otherwise the variable's first steps would be three times too long.
    """
    import keras

    class AdamW(keras.optimizers.Adam):
        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            index = self._get_variable_index(variable)
            momentum, velocity = self._momentums[index], self._velocities[index]
            rate = learning_rate * rates[index]
            step = keras.ops.cast(self.iterations - starts[index] + 1, "float32")
            corrected = keras.ops.sqrt(1 - self.beta_2**step) / (1 - self.beta_1**step)
            self.assign_add(momentum, (gradient - momentum) * (1 - self.beta_1))
            self.assign_add(velocity, (gradient * gradient - velocity) * (1 - self.beta_2))
            update = corrected * momentum / (keras.ops.sqrt(velocity) + self.epsilon)
            if len(variable.shape) > 1:
                update = update + decay * variable
            self.assign_sub(variable, rate * update)

    return AdamW(learning_rate)


class ModelEma:
    """An exponential moving average of a model's weights, including batch-norm statistics.

    At step t (from 1) an average moves towards the weight by a part of their distance: 1 -
    min(decay, (1 + t) / (10 + t)). The part is large at first, so the initial weights are soon
    forgotten. Batch-norm statistics are averaged in the same way, so they fit the averaged weights
    (the idea: Izmailov et al. 2018, Tan & Le 2019).
    """

    def __init__(self, weights: Sequence[keras.Variable], decay: float) -> None:
        import tensorflow as tf

        self.decay = decay
        self.weights = list(weights) if decay else []
        # One copy on the first device is enough: replicas are equal, and only epoch ends need it.
        self.values = [tf.Variable(weight.numpy(), trainable=False) for weight in self.weights]

    def update(self, step: tf.Tensor) -> None:
        """Move the averages after a step (from 1). Call this in a graph, outside the replicas."""
        import tensorflow as tf

        step = tf.cast(step, tf.float32)
        part = 1 - tf.minimum(self.decay, (1 + step) / (10 + step))
        for value, weight in zip(self.values, self.weights, strict=True):
            value.assign_add(part * (tf.convert_to_tensor(weight) - value))

    def apply(self) -> None:
        """Replace the model's weights by their averages."""
        for value, weight in zip(self.values, self.weights, strict=True):
            weight.assign(value.numpy())

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Replace the model's weights by their averages inside a `with` block."""
        raw = [weight.numpy() for weight in self.weights]
        self.apply()
        try:
            yield
        finally:
            for value, weight in zip(raw, self.weights, strict=True):
                weight.assign(value)


Epoch = dict[str, float]
OnEpoch = Callable[[Epoch], None]
Forward = Callable[[NDArray[np.uint8]], NDArray[np.float32]]

CLIP = 1.0  # the largest allowed norm of all gradients of a step together


@dataclass(frozen=True)
class LayerGroup:
    """Layers with the same learning rate that begin to learn in the same epoch."""

    #: all weights of these layers learn, so the list has no frozen batch norms.
    layers: Sequence[keras.layers.Layer]
    rate: float = 1.0  #: factor on the learning rate
    first_epoch: int = 1  #: the first epoch, from 1, in which the layers learn


def fit(
    model: keras.Model, groups: Sequence[LayerGroup], data: TrainingData, params: TrainingParams,
    epochs: int, history: list[Epoch], checkpoint: Checkpoint | None, on_epoch: OnEpoch,
) -> None:  # fmt: skip
    """Train groups of layers: AdamW, warm-up, cosine decay to 0, clipping, smoothed labels.

    The averaged weights are the result, and they are validated. The result is the last epoch, not
    the best one: in the last epoch the learning rate is 0 and the weights have settled. The
    validation AUC, which is near 1 in every epoch, is not used to choose an epoch.

    Args:
        model: built in the scope of a strategy, whose replicas share each batch; layers that are in
            no group are frozen.
        history: gets one row per epoch: epoch (from 1), loss, val_loss, val_auc, learning_rate. If
            a checkpoint exists, its rows replace the history first.
        checkpoint: the training continues from it and saves each epoch to it; None on all hosts but
            the chief, because they get the chief's state.
        on_epoch: a function that is called with each row after the row was saved.
    """
    import keras

    batch_size, steps = epoch_steps(data.train, params)
    strategy = model.distribute_strategy
    _set_trainable(model.layers, False)
    for group in groups:
        _set_trainable(group.layers, True)
    weights = [
        (group, weight)
        for group in groups for layer in group.layers for weight in layer.trainable_weights
    ]  # fmt: skip
    changing = [weight for group in groups for layer in group.layers for weight in layer.weights]
    with strategy.scope():
        optimizer = adamw(
            schedule(params.learning_rate, steps * epochs), params.weight_decay,
            [group.rate for group, _ in weights],
            [(group.first_epoch - 1) * steps for group, _ in weights],
        )  # fmt: skip
        optimizer.build([weight for _, weight in weights])
    if strategy.num_replicas_in_sync > 1:
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = True
    ema = ModelEma(changing, params.ema_decay)

    # Continue where a killed training stopped.
    variables = [*model.variables, *optimizer.variables, *ema.values]
    state = checkpoint.load() if checkpoint else None
    if state:
        for variable, value in zip(variables, state.arrays, strict=True):
            variable.assign(value)
        history[:] = state.history
    devices.broadcast(strategy, variables, history)
    done = int(history[-1]["epoch"]) if history else 0

    _set_trainable(model.layers, False)
    parts = stream(strategy, data, params, done, epochs)
    infer, step, learning = forward(model), None, 0
    shown = {"val_auc": history[-1]["val_auc"]} if history else {}
    with tqdm(
        desc=model.name, total=steps * epochs, initial=steps * done, unit="step", mininterval=1,
        disable=_no_bar(),
    ) as bar:  # fmt: skip
        for epoch in range(done + 1, epochs + 1):
            unfrozen = [group for group in groups if group.first_epoch <= epoch]
            if step is None or len(unfrozen) > learning:
                learning = len(unfrozen)
                for group in unfrozen:
                    _set_trainable(group.layers, True)
                step = _compile_step(model, optimizer, ema, params.label_smoothing, batch_size)
            total = 0.0
            for number in range(1, steps + 1):
                total += float(step(next(parts)))
                shown["loss"] = total / number
                _show(bar, shown)
                bar.update()
            with ema.swapped_in():
                validation = validate(infer, data.val)
            rate = float(optimizer.learning_rate)
            row = {"epoch": epoch, "loss": total / steps, **validation, "learning_rate": rate}
            history.append(row)
            shown["val_auc"] = row["val_auc"]
            _show(bar, shown)
            if checkpoint:
                checkpoint.save(TrainingState(history, [value.numpy() for value in variables]))
            on_epoch(row)
    ema.apply()


def _set_trainable(layers: Sequence[keras.layers.Layer], trainable: bool) -> None:
    for layer in layers:
        layer.trainable = trainable


def _compile_step(
    model: keras.Model, optimizer: keras.optimizers.Optimizer, ema: ModelEma, smoothing: float,
    batch_size: int,
) -> Callable[[Any], tf.Tensor]:  # fmt: skip
    """Compile a training step for the weights that are trainable now; a step returns the loss."""
    import tensorflow as tf

    strategy = model.distribute_strategy
    weights = model.trainable_weights

    def replica(images: tf.Tensor, labels: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            losses = tf.nn.sigmoid_cross_entropy_with_logits(
                labels * (1 - smoothing) + 0.5 * smoothing, model(images, training=True)
            )
            # Divide by the images of all replicas, because the optimizer adds up their gradients.
            loss = tf.reduce_sum(losses * counts) / batch_size
        # Clip by the norm over all replicas: one bad batch at a high rate can ruin a fine-tuning.
        gradients = tape.gradient(loss, weights)
        total = tf.distribute.get_replica_context().all_reduce("SUM", gradients)
        scale = CLIP / tf.maximum(tf.linalg.global_norm(total), CLIP)
        optimizer.apply([gradient * scale for gradient in gradients], weights)
        return loss

    @tf.function(jit_compile=False)
    def step(batch: Any) -> tf.Tensor:
        loss = strategy.reduce(tf.distribute.ReduceOp.SUM, strategy.run(replica, batch), axis=None)
        ema.update(optimizer.iterations)
        return loss

    return step


def forward(model: keras.Model, name: str = "") -> Forward:
    """Make a function that computes outputs of images, uint8 (N, S, S, 1), in batches of 64.

    The function runs the model in inference mode. With a name, it shows a progress bar.
    """
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((None, *model.input.shape[1:]), tf.uint8)])
    def infer(images: tf.Tensor) -> tf.Tensor:
        return model(images, training=False)

    def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        disable = _no_bar() if name else True
        starts = tqdm(range(0, len(images), 64), desc=name, mininterval=1, disable=disable)
        return np.concatenate([infer(images[start : start + 64]).numpy() for start in starts])

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


def _no_bar() -> bool | None:
    """Tqdm's `disable`: None shows a bar on a terminal (only the chief's), True shows none."""
    return None if devices.training_host().is_chief else True


def _show(bar: tqdm[Any], figures: Epoch) -> None:
    bar.set_postfix({name: f"{value:.4f}" for name, value in figures.items()}, refresh=False)


def recorder(name: str, log_epoch: OnEpoch | None = None) -> OnEpoch:
    """Make a function that logs an epoch and prints the epoch in one line."""

    def record(epoch: Epoch) -> None:
        if log_epoch:
            log_epoch(epoch)
        figures = ", ".join(
            f"{key} {epoch[key]:.4f}" for key in ("loss", "val_loss", "val_auc") if key in epoch
        )
        tqdm.write(f"{name} epoch {epoch['epoch']}: {figures}", file=sys.stdout)
        sys.stdout.flush()

    return record
