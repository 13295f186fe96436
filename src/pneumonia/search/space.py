"""What a search tries: the schema of `search.yaml`, held to the params that it changes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from pneumonia.core.config import Block, Seed, TrainingParams, changed, line, load
from pneumonia.core.errors import InputError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


# Knobs of a training that no search may turn, and why.
FIXED = {
    "seed": "a lucky seed is no better training",
    "epochs": "trials are compared epoch by epoch, in schedules of one length",
    "second_seed_epochs": "no trial trains a second network",
}


class Axis(Block):
    """What is tried of one knob: whole numbers or any from low to high, or choices."""

    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    choices: list[Any] | None = Field(default=None, min_length=2)

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if self.choices is not None:
            if self.model_fields_set != {"choices"}:
                raise PydanticCustomError("axis", "Choices stand alone, without low, high and log")
        elif self.low is None or self.high is None:
            raise PydanticCustomError("axis", "Input should have low and high, or choices")
        elif not self.low < self.high:
            raise PydanticCustomError("axis", "The low end should be below the high one")
        elif self.log and self.low <= 0:
            raise PydanticCustomError("axis", "With log the low end should be above 0")
        return self

    @property
    def tried(self) -> list[Any]:
        """The values that have to be right for all to be: both ends, or each choice."""
        return [self.low, self.high] if self.choices is None else self.choices

    def holds(self, value: Any) -> bool:
        """Whether a value may be tried."""
        if self.choices is not None:
            return value in self.choices
        assert self.low is not None
        assert self.high is not None
        return self.low <= value <= self.high


Space = Annotated[dict[str, Axis], Field(min_length=1)]


class PruningParams(Block):
    """When a trial ends early."""

    startup: int = Field(ge=1, le=1000)
    warm_up: int = Field(ge=0, le=500)


class SearchParams(Block):
    """The whole of `search.yaml`."""

    trials: int = Field(ge=1, le=100_000)
    seed: Seed
    pruning: PruningParams
    train_scratch: Space
    train_transfer: Space


def load_search(path: Path, stage: str, block: TrainingParams) -> SearchParams:
    """Read and check a search file, and hold the space of a stage to its block of the params.

    Raises:
        InputError: one line a problem, as of `checked.load`.
    """
    search = load(path, SearchParams)
    problems = []
    for key, axis in getattr(search, stage).items():
        problem = _problem(block, key, axis)
        if problem:
            problems.append(f"{path}:{line(path, [stage, key])}: {stage}.{problem}")
    if problems:
        raise InputError("\n".join(problems))
    return search


def _problem(block: TrainingParams, key: str, axis: Axis) -> str:
    if key in FIXED:
        return f"{key}: not for a search: {FIXED[key]}"
    for value in axis.tried:
        try:
            changed(block, {key: value})
        except InputError as error:
            return str(error).splitlines()[0]
    return ""


def present(block: TrainingParams, space: Mapping[str, Axis]) -> dict[str, Any]:
    """The values that the params have now, by dotted key."""
    values = {}
    for key in space:
        value: Any = block
        for name in key.split("."):
            value = getattr(value, name)
        values[key] = value
    return values


def distributions(block: TrainingParams, space: Mapping[str, Axis]) -> dict[str, BaseDistribution]:
    """The space as Optuna has it."""
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    found: dict[str, BaseDistribution] = {}
    for key, value in present(block, space).items():
        axis = space[key]
        if axis.choices is not None:
            found[key] = CategoricalDistribution([_label(choice) for choice in axis.choices])
        elif isinstance(value, int):
            found[key] = IntDistribution(int(axis.low or 0), int(axis.high or 0), log=axis.log)
        else:
            found[key] = FloatDistribution(axis.low or 0.0, axis.high or 0.0, log=axis.log)
    return found


def suggested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as Optuna keeps them."""
    return {key: _label(value) for key, value in values.items()}


def values(suggestion: Mapping[str, Any], space: Mapping[str, Axis]) -> dict[str, Any]:
    """A suggestion of Optuna's as values of params, numbers to three digits.

    So the command that repeats a trial is short and repeats it to the last bit.
    """
    found = {}
    for key, value in suggestion.items():
        axis = space[key]
        if axis.choices is not None:
            found[key] = next(choice for choice in axis.choices if _label(choice) == value)
        elif isinstance(value, float):
            assert axis.low is not None
            assert axis.high is not None
            found[key] = min(max(float(f"{value:.3g}"), axis.low), axis.high)
        else:
            found[key] = value
    return found


def _label(value: Any) -> Any:
    """A value that Optuna can store: it takes no lists."""
    return json.dumps(value) if isinstance(value, list | dict) else value
