"""A search file is checked against the params, and its mistakes are one line each."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pneumonia.core.config import load_params
from pneumonia.core.errors import InputError
from pneumonia.search.space import (
    FIXED,
    Axis,
    current_values,
    distributions,
    from_optuna,
    load_search,
    to_optuna,
)

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "search.yaml"
PARAMS = load_params(ROOT / "params.yaml")
STAGES = ("train_scratch", "train_transfer")


@pytest.mark.parametrize("stage", STAGES)
def test_the_shipped_space_fits_the_params_and_contains_the_current_ones(stage: str) -> None:
    space = getattr(load_search(SHIPPED, stage, PARAMS), stage)
    current = current_values(PARAMS, stage, space)
    assert all(axis.contains(current[key]) for key, axis in space.items())


@pytest.mark.parametrize(
    ("key", "axis", "told"),
    [
        ("learning_rate", "{low: 0.1, high: 2.0}", "less than or equal to 1, not 2.0"),
        ("learning_rte", "{low: 0.1, high: 0.2}", ": unknown key; did you mean 'learning_rate'?"),
        ("augment.rotaton", "{low: 0.0, high: 9.0}", ": unknown key; did you mean 'rotation'?"),
        ("batch_size", "{low: 0.5, high: 9}", "a valid integer, not 0.5"),
        ("balance", "{low: 0, high: 1}", "'none', 'weights' or 'sampling', not 0"),
        ("balance", "{choices: [none, both]}", "'none', 'weights' or 'sampling', not 'both'"),
        ("widths", "{choices: [[8], [2]]}", "greater than or equal to 4, not 2"),
        ("seed", "{low: 0, high: 9}", ": not for a search: a lucky seed is not a better training"),
        ("epochs", "{low: 1, high: 9}", f": not for a search: {FIXED['epochs']}"),
    ],
)  # fmt: skip
def test_an_axis_that_the_params_cannot_take_is_named_with_its_line(
    tmp_path: Path, key: str, axis: str, told: str
) -> None:
    text = complaint(with_axis(tmp_path, key, axis))
    assert text.startswith(f"{tmp_path}/search.yaml:3: train_scratch.{key}")
    assert text.endswith(told)
    assert "\n" not in text


@pytest.mark.parametrize(
    ("key", "axis", "told"),
    [
        ("learning_rate", "{low: 0.1, high: 0.1}", "the low end should be below the high one"),
        ("learning_rate", "{low: 0, high: 0.1, log: true}", "with log the low end should be"),
        ("learning_rate", "{low: 0.1}", "input should have low and high, or choices"),
        ("balance", "{choices: [none, weights], low: 1}", "choices take no low, high or log"),
        ("balance", "{choices: [none]}", "list should have at least 2 items"),
        ("balance", "{choses: [none, weights]}", "unknown key; did you mean 'choices'?"),
    ],
)  # fmt: skip
def test_a_broken_axis_is_one_line(tmp_path: Path, key: str, axis: str, told: str) -> None:
    text = complaint(with_axis(tmp_path, key, axis))
    assert text.startswith(f"{tmp_path}/search.yaml:3: train_scratch.{key}")
    assert told in text
    assert "\n" not in text


def with_axis(folder: Path, key: str, axis: str) -> Path:
    """A search file whose third line is the only axis of train_scratch."""
    path = folder / "search.yaml"
    path.write_text(
        f"trials: 3\ntrain_scratch:\n  {key}: {axis}\n"
        "train_transfer: {head_l2: {low: 1, high: 2}}\n"
        "seed: 7\npruning: {startup: 1, warm_up: 1}\n"
    )
    return path


def complaint(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_search(path, "train_scratch", PARAMS)
    return str(caught.value)


def test_a_file_without_an_axis_searches_nothing(tmp_path: Path) -> None:
    text, count = re.subn(r"(?m)^  head_l2.*$", "", SHIPPED.read_text())
    assert count == 1
    text = re.sub(r"(?ms)^train_transfer:.*", "train_transfer: {}\n", text)
    (tmp_path / "search.yaml").write_text(text)
    assert "train_transfer: dictionary should have at least 1 item" in complaint(
        tmp_path / "search.yaml"
    )


def test_what_optuna_proposes_comes_back_as_params() -> None:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    space = {
        "widths": Axis(choices=[[8, 16], [32, 64, 128, 192]]),
        "batch_size": Axis(low=8, high=64),
        "learning_rate": Axis(low=0.0012345, high=0.1, log=True),
        "augment.noise": Axis(low=0, high=1),
    }
    current = current_values(PARAMS, "train_scratch", space)
    kinds = distributions(current, space)
    assert kinds == {
        "widths": CategoricalDistribution(["[8, 16]", "[32, 64, 128, 192]"]),
        "batch_size": IntDistribution(8, 64),
        "learning_rate": FloatDistribution(0.0012345, 0.1, log=True),
        "augment.noise": FloatDistribution(0.0, 1.0),
    }
    assert current == {
        "widths": [32, 64, 128, 192], "batch_size": 32, "learning_rate": 0.002,
        "augment.noise": 0.05,
    }  # fmt: skip
    assert from_optuna(to_optuna(current), space) == current
    # Three digits, but not out of the range.
    proposed = {"learning_rate": 0.00123451, "augment.noise": 0.123456}
    assert from_optuna(proposed, space) == {"learning_rate": 0.0012345, "augment.noise": 0.123}
