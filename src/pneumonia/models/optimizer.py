"""AdamW with a rate for each block, and the average of the weights that it leaves behind."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

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


class Averages:
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
