"""The search space: the schema of `search.yaml`, checked against the params that it changes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from pneumonia.core.config import Block, Params, Seed, changed, line, load
from pneumonia.core.errors import InputError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


# The params of a training that no search may change, and the reasons.
FIXED = {
    "seed": "a lucky seed is not a better training",
    "epochs": "trials are compared epoch by epoch, with schedules of the same length",
    "second_seed_epochs": "no trial trains a second network",
}


class Axis(Block):
    """The values to try for a param: from low to high (integers for an integer), or choices."""

    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    choices: list[Any] | None = Field(default=None, min_length=2)

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if self.choices is not None:
            if self.model_fields_set != {"choices"}:
                raise PydanticCustomError("axis", "Choices take no low, high or log")
        elif self.low is None or self.high is None:
            raise PydanticCustomError("axis", "Input should have low and high, or choices")
        elif not self.low < self.high:
            raise PydanticCustomError("axis", "The low end should be below the high one")
        elif self.log and self.low <= 0:
            raise PydanticCustomError("axis", "With log the low end should be above 0")
        return self

    @property
    def extremes(self) -> list[Any]:
        """Both ends, or all choices; if these are valid, all values between are valid, too."""
        return [self.low, self.high] if self.choices is None else self.choices

    def contains(self, value: Any) -> bool:
        """Whether a value is in the range or among the choices."""
        if self.choices is not None:
            return value in self.choices
        assert self.low is not None
        assert self.high is not None
        return self.low <= value <= self.high


Space = Annotated[dict[str, Axis], Field(min_length=1)]


class PruningParams(Block):
    """The params that decide when a trial ends early."""

    startup: int = Field(ge=1, le=1000)
    warm_up: int = Field(ge=0, le=500)


class SearchParams(Block):
    """The whole content of `search.yaml`."""

    trials: int = Field(ge=1, le=100_000)
    seed: Seed
    pruning: PruningParams
    train_scratch: Space
    train_transfer: Space


def load_search(path: Path, stage: str, params: Params) -> SearchParams:
    """Read a search file, and check the space of a stage against the params.

    Raises:
        InputError: there are mistakes; the message has one line per mistake, as in `config.load`.
    """
    search = load(path, SearchParams)
    problems = []
    for key, axis in getattr(search, stage).items():
        problem = _problem(params, stage, key, axis)
        if problem:
            problems.append(f"{path}:{line(path, [stage, key])}: {stage}.{problem}")
    if problems:
        raise InputError("\n".join(problems))
    return search


def _problem(params: Params, stage: str, key: str, axis: Axis) -> str:
    if key in FIXED:
        return f"{key}: not for a search: {FIXED[key]}"
    for value in axis.extremes:
        try:
            changed(params, {full_key(stage, key): value})
        except InputError as error:
            return str(error).splitlines()[0].removeprefix(f"{stage}.")
    return ""


def full_key(stage: str, key: str) -> str:
    """The full key of an axis in params.yaml: in the stage's block, or in `augment`."""
    return key if key.startswith("augment.") else f"{stage}.{key}"


def current_values(params: Params, stage: str, space: Mapping[str, Axis]) -> dict[str, Any]:
    """The current values of the axes in the params, by key."""
    values = {}
    for key in space:
        value: Any = params
        for name in full_key(stage, key).split("."):
            value = getattr(value, name)
        values[key] = value
    return values


def distributions(
    current: Mapping[str, Any], space: Mapping[str, Axis]
) -> dict[str, BaseDistribution]:
    """The space as Optuna's distributions; types in `current` decide between int and float."""
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    result: dict[str, BaseDistribution] = {}
    for key, value in current.items():
        axis = space[key]
        if axis.choices is not None:
            result[key] = CategoricalDistribution([_label(choice) for choice in axis.choices])
        elif isinstance(value, int):
            result[key] = IntDistribution(int(axis.low or 0), int(axis.high or 0), log=axis.log)
        else:
            result[key] = FloatDistribution(axis.low or 0.0, axis.high or 0.0, log=axis.log)
    return result


def to_optuna(values: Mapping[str, Any]) -> dict[str, Any]:
    """Turn values of params into the form that Optuna stores."""
    return {key: _label(value) for key, value in values.items()}


def from_optuna(suggestion: Mapping[str, Any], space: Mapping[str, Axis]) -> dict[str, Any]:
    """Turn Optuna's suggestion into values of params, with floats rounded to three digits.

    With rounded values, the command that repeats a trial is short and repeats it exactly.
    """
    values = {}
    for key, value in suggestion.items():
        axis = space[key]
        if axis.choices is not None:
            values[key] = next(choice for choice in axis.choices if _label(choice) == value)
        elif isinstance(value, float):
            assert axis.low is not None
            assert axis.high is not None
            values[key] = min(max(float(f"{value:.3g}"), axis.low), axis.high)
        else:
            values[key] = value
    return values


def _label(value: Any) -> Any:
    """Turn a value into one that Optuna can store: a list or dict becomes JSON text."""
    return json.dumps(value) if isinstance(value, list | dict) else value
