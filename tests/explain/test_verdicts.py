"""The verdicts on good, bad and undecided maps."""

from __future__ import annotations

from typing import Any

import pytest

from pneumonia.explain.checks import NO, OPEN, YES, failure, verdicts


def gain(name: str, low: float, high: float) -> dict[str, float]:
    """A gain with its interval."""
    return {f"{name}_gain": (low + high) / 2, f"{name}_gain_low": low, f"{name}_gain_high": high}


def centre(auc: float, low: float, high: float) -> dict[str, float]:
    return {"auc_centre_black": auc, "auc_centre_black_low": low, "auc_centre_black_high": high}


GOOD: dict[str, Any] = {
    "images": 64, "patients": 50, "empty": 0.0, "border_energy": 0.1, "border_area": 0.36,
    "energy_inside": 0.6, "pointing_game": 0.9, "mask_area": 0.1, "other_energy_inside": 0.3,
    "other_pointing_game": 0.4, "second_seed_rank": 0.7, "second_seed_pair_rank": 0.3,
    "other_model_rank": 0.5, "other_model_pair_rank": 0.2, "pair_rank": 0.3, "randomised_rank": 0.1,
    "val_auc": 0.99, "second_seed_val_auc": 0.98, "cascade": {}, "failed": "",
    "road": {
        "map": {"20": 4.0, "40": 4.1}, "other_image": {"20": 2.0, "40": 3.0},
        "edges": {"20": 1.5, "40": 4.4}, "random": {"20": 0.3, "40": 0.5},
    },
    **centre(0.5, 0.4, 0.6), **gain("border", 0.1, 0.3), **gain("road", 1, 3),
    **gain("second_seed", 0.3, 0.5), **gain("other_model", 0.2, 0.4), **gain("opacity", 0.2, 0.4),
}  # fmt: skip
CHANGED = [
    ("depend on what", NO, {"randomised_rank": 0.51}),
    ("depend on what", NO, {"randomised_rank": float("nan")}),
    ("logit depend on", OPEN, gain("road", -0.1, 3)),
    ("logit depend on", NO, gain("road", -3, -0.1)),
    ("avoid the border", OPEN, gain("border", -0.1, 0.1)),
    ("avoid the border", NO, gain("border", -0.2, -0.1)),
    ("need the centre", OPEN, centre(0.6, 0.5, 0.71)),
    ("need the centre", NO, centre(0.8, 0.71, 0.9)),
    ("another seed", OPEN, gain("second_seed", -0.1, 0.1)),
    ("another seed", OPEN, {"second_seed_val_auc": 0.93}),
    ("both models", NO, gain("other_model", -0.2, -0.1)),
    ("mark the opacity", OPEN, gain("opacity", -0.01, 0.1)),
]


def test_good_maps_pass_every_check() -> None:
    found = verdicts(GOOD, 0.5)
    assert [one.answer for one in found] == [YES] * 7
    assert found[-1].finding == (
        "60 % of the map lies inside the opacity, 6.0 times the opacity's share of the image. Of "
        "another image's map, 30 % does; difference +0.30 (+0.20 to +0.40). The hottest point lies "
        "inside on 90 % of the images, that of another image's map on 40 %."
    )


@pytest.mark.parametrize(("question", "answer", "changed"), CHANGED)
def test_another_figure_changes_its_own_answer_alone(
    question: str, answer: str, changed: dict[str, Any]
) -> None:
    [other] = [one for one in verdicts(GOOD | changed, 0.5) if one.answer != YES]
    assert other.answer == answer
    assert question in other.check


def test_without_masks_nothing_is_said_of_the_opacity() -> None:
    unknown = {name: value for name, value in GOOD.items() if name != "energy_inside"}
    assert [one.check for one in verdicts(unknown, 0.5)] == [
        one.check for one in verdicts(GOOD, 0.5)[:-1]
    ]


def test_the_strongest_rival_is_named() -> None:
    road = GOOD["road"] | {"edges": {"20": 2.5}}
    found = verdicts(GOOD | {"road": road}, 0.5)[1]
    assert "Difference to the strongest edges: +2.00 (+1.00 to +3.00)" in found.finding


@pytest.mark.parametrize(("rank", "fails"), [(0.1, False), (0.5, False), (0.51, True)])
def test_maps_fail_above_the_allowed_correlation(rank: float, fails: bool) -> None:
    assert bool(failure(rank, 0.5)) is fails


def test_maps_fail_without_a_correlation() -> None:
    assert failure(float("nan"), 0.5)
