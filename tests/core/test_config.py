"""Values given in addition to a file are checked like those in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pneumonia.core.config import changed, line, load_params
from pneumonia.core.errors import InputError

PATH = Path(__file__).parents[2] / "params.yaml"
SHIPPED = load_params(PATH)


def test_values_by_dotted_key_replace_those_of_the_file() -> None:
    found = changed(SHIPPED, {"augment.gamma": 0.3, "prepare.seed": 1})
    assert (found.augment.gamma, found.prepare.seed) == (0.3, 1)
    assert SHIPPED.augment.gamma == 0.4
    assert found.train_transfer == SHIPPED.train_transfer


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"prepare.size": 16}, "prepare.size: input should be greater than or equal to 32, not 16"),
        ({"prepare.sise": 64}, "prepare.sise: unknown key; did you mean 'size'?"),
        ({"prepar.size": 64}, "prepar: unknown key; did you mean 'prepare'?"),
        ({"prepare.size.px": 64}, "prepare.size: input should be a valid integer, not {'px': 64}"),
    ],
)
def test_a_wrong_value_is_one_line(values: dict[str, int], message: str) -> None:
    with pytest.raises(InputError) as caught:
        changed(SHIPPED, values)
    assert str(caught.value) == message


def test_the_line_of_a_key_is_that_in_the_file() -> None:
    text = PATH.read_text().splitlines()
    assert text[line(PATH, ["train_transfer", "epochs"]) - 1].startswith("  epochs: 8")
