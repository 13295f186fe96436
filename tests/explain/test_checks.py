"""What the checks ask, and what they say of maps that are good or worthless."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pneumonia.explain.checks import films_to_check, verdicts

GOOD: dict[str, Any] = {
    "border_energy": 0.1, "border_area": 0.36, "energy_inside": 0.6, "pointing_game": 0.9,
    "mask_area": 0.1, "auc_centre_black": 0.5, "auc_centre_black_low": 0.4,
    "auc_centre_black_high": 0.6, "second_seed_rank": 0.7, "second_seed_pair_rank": 0.3,
    "other_model_rank": 0.5, "other_model_pair_rank": 0.2, "pair_rank": 0.3,
    "randomised_rank": 0.1,
    "road": {"map": {"20": 4.0}, "random": {"20": 0.3}, "edges": {"20": 1.5}},
}  # fmt: skip
WORSE = [
    ("depend on what", {"randomised_rank": 0.51}),
    ("logit rest on", {"road": GOOD["road"] | {"map": {"20": 1.4}}}),
    ("logit rest on", {"road": GOOD["road"] | {"random": {"20": 4.1}}}),
    ("off the border", {"border_energy": 0.37}),
    ("need the centre", {"auc_centre_black_low": 0.61}),
    ("another seed", {"second_seed_rank": 0.3}),
    ("the other model", {"other_model_rank": 0.1}),
    ("mark the opacity", {"energy_inside": 0.09}),
    ("mark the opacity", {"pointing_game": 0.09}),
]


def test_good_maps_pass_every_check() -> None:
    found = verdicts(GOOD, 0.5)
    assert len(found) == 7
    assert all(one.holds for one in found)
    assert found[-1].finding == (
        "60 % of the map lie inside the opacity, 6.0 times its share of the film; the hottest "
        "point does on 90 % of the films."
    )


@pytest.mark.parametrize(("question", "changed"), WORSE)
def test_a_worse_figure_fails_its_own_check_alone(question: str, changed: dict[str, Any]) -> None:
    failed = [one.check for one in verdicts(GOOD | changed, 0.5) if not one.holds]
    assert len(failed) == 1
    assert question in failed[0]


def test_without_masks_nothing_is_said_of_the_opacity() -> None:
    unknown = {name: value for name, value in GOOD.items()
               if name not in ("energy_inside", "pointing_game", "mask_area")}  # fmt: skip
    assert [one.check for one in verdicts(unknown, 0.5)] == [
        one.check for one in verdicts(GOOD, 0.5)[:-1]
    ]


def test_pneumonia_is_checked_first_and_the_seed_decides() -> None:
    labels = np.array([0, 1] * 20 + [0] * 20)
    assert labels[films_to_check(labels, 15, 7)].all()
    assert labels[films_to_check(labels, 30, 7)].sum() == 20
    assert list(films_to_check(labels, 1000, 7)) == list(range(60))
    assert list(films_to_check(labels, 15, 7)) == list(films_to_check(labels, 15, 7))
    assert list(films_to_check(labels, 15, 7)) != list(films_to_check(labels, 15, 8))
