"""AdamW by its definition, block by block, and averages that do not drag their start along."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pneumonia.models.loop import WARM_UP, ModelEma, adamw, schedule

GRADIENTS = np.random.default_rng(0).normal(size=(6, 2, 3)).astype(np.float32)
START = np.array([[0.5, -1.0, 2.0], [1.5, 0.1, -0.3]], np.float32)


def expected(
    gradients: NDArray[Any], rate: float, decay: float, start: NDArray[Any] = START
) -> NDArray[Any]:
    """Loshchilov & Hutter 2019, algorithm 2, with Keras' constants."""
    weight, first, second = start.astype(np.float64), 0.0, 0.0
    for step, gradient in enumerate(gradients, 1):
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        direction = first / (1 - 0.9**step)
        scale = np.sqrt(second / (1 - 0.999**step)) + 1e-7
        weight = weight - rate * (direction / scale + decay * weight)
    return weight


def test_each_variable_learns_and_decays_at_its_own_rate() -> None:
    import keras

    variables = [keras.Variable(START) for _ in range(2)]
    optimizer = adamw(0.01, 0.1, [1.0, 0.25], [0, 0])
    optimizer.build(variables)
    for gradient in GRADIENTS:
        optimizer.apply([keras.ops.convert_to_tensor(gradient)] * 2, variables)
    for variable, rate in zip(variables, (0.01, 0.0025), strict=True):
        assert variable.numpy() == pytest.approx(expected(GRADIENTS, rate, 0.1), abs=1e-5)


def test_a_vector_does_not_decay() -> None:
    import keras

    variable = keras.Variable(START[0])
    optimizer = adamw(0.01, 0.5, [1.0], [0])
    optimizer.build([variable])
    for gradient in GRADIENTS:
        optimizer.apply([keras.ops.convert_to_tensor(gradient[0])], [variable])
    wanted = expected(GRADIENTS[:, 0], 0.01, 0, START[0])
    assert variable.numpy() == pytest.approx(wanted, abs=1e-5)


def test_a_variable_that_begins_late_begins_as_the_first_one_did() -> None:
    import keras

    variables = [keras.Variable(START) for _ in range(2)]
    optimizer = adamw(0.01, 0.1, [1.0, 1.0], [0, 3])
    optimizer.build(variables)
    for step, gradient in enumerate(GRADIENTS):
        learning = variables[: 1 if step < 3 else 2]
        optimizer.apply([keras.ops.convert_to_tensor(gradient)] * len(learning), learning)
    assert variables[1].numpy() == pytest.approx(expected(GRADIENTS[3:], 0.01, 0.1), abs=1e-5)


def test_the_rate_rises_and_falls_to_nothing() -> None:
    rates = np.array([float(schedule(0.3, 200)(step)) for step in range(201)])
    top = round(200 * WARM_UP)
    assert rates[0] == 0
    assert rates.argmax() == top
    assert rates[top] == pytest.approx(0.3)
    assert (np.diff(rates[top:]) < 0).all()
    assert rates[top + 95] == pytest.approx(0.15)
    assert rates[200] == pytest.approx(0, abs=1e-6)


def followed(decay: float, steps: int) -> tuple[ModelEma, Any]:
    """Averages of a weight that is 0 at first and 1 after every step."""
    import keras
    import tensorflow as tf

    weight = keras.Variable([0.0])
    averages = ModelEma([weight], decay)
    weight.assign([1.0])
    for step in range(1, steps + 1):
        averages.update(tf.constant(step))
    return averages, weight


def test_an_average_soon_forgets_where_it_began() -> None:
    averages, _ = followed(0.99, 20)
    rest = np.prod([min(0.99, (1 + step) / (10 + step)) for step in range(1, 21)])
    assert averages.values[0].numpy() == pytest.approx([1 - rest], abs=1e-6)
    assert rest < 0.01 < 0.99**20


def test_averages_are_swapped_in_and_then_applied() -> None:
    averages, weight = followed(0.5, 1)
    found = averages.values[0].numpy().copy()
    assert 0 < found[0] < 1
    with averages.swapped_in():
        assert weight.numpy() == found
    assert weight.numpy() == [1.0]
    averages.apply()
    assert weight.numpy() == found


def test_without_a_decay_nothing_is_averaged() -> None:
    averages, weight = followed(0.0, 3)
    assert averages.values == []
    averages.apply()
    assert weight.numpy() == [1.0]
