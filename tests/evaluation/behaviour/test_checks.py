"""Every check can fail, and a model that sees the opacities passes all checks."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pneumonia.evaluation import behaviour
from pneumonia.evaluation.behaviour import (
    AT_LEAST,
    AT_MOST,
    CHECKS,
    INVARIANCE,
    KINDS,
    BehaviourCheck,
    BehaviourImages,
    CheckOutcome,
    PredictImages,
    draw_images,
)
from tests.evaluation.behaviour.stand_ins import (
    THRESHOLD,
    border,
    brightness,
    constant,
    inverted,
    knowing,
    random_probability,
    reader,
    sharpness,
)

MOVED, TURNED, EXPOSURE, CONTRAST, BLURRED, NOISY, JPEG, LARGER, CHANGE = (
    check.name for check in CHECKS if check.kind == INVARIANCE
)
ADDED, ERASED, DOUBLED, AUC, SENSITIVITY, SPECIFICITY = (
    check.name for check in CHECKS if check.kind != INVARIANCE
)
# Checks that each stand-in must fail; it may fail others.
FAILS = {
    "inverted": {ADDED, ERASED, DOUBLED, AUC, SENSITIVITY},
    "always pneumonia": {ADDED, ERASED, DOUBLED, AUC, SPECIFICITY},
    "never pneumonia": {ADDED, ERASED, DOUBLED, AUC, SENSITIVITY},
    "random": {MOVED, TURNED, EXPOSURE, CONTRAST, BLURRED, NOISY, JPEG, LARGER, CHANGE, ADDED},
    "sees only the mean grey": {CHANGE, ADDED, ERASED, DOUBLED, AUC},
    "sees only the border": {EXPOSURE, CHANGE, ADDED, ERASED, DOUBLED, AUC},
    "sees only the finest detail": {TURNED, BLURRED, NOISY, JPEG, CHANGE, DOUBLED, AUC},
}
# Checks that a constant stand-in cannot fail.
STEADY = {MOVED, TURNED, EXPOSURE, CONTRAST, BLURRED, NOISY, JPEG, LARGER, CHANGE}


def stand_ins(images: BehaviourImages) -> dict[str, PredictImages]:
    return {
        "inverted": inverted(knowing(images)),
        "always pneumonia": constant(0.7),
        "never pneumonia": constant(0.3),
        "random": random_probability,
        "sees only the mean grey": reader(brightness, images),
        "sees only the border": reader(border, images),
        "sees only the finest detail": reader(sharpness, images),
    }


def failing(outcomes: list[CheckOutcome]) -> set[str]:
    return {outcome.check.name for outcome in outcomes if not outcome.holds}


def names_of_failed(predict: PredictImages, images: BehaviourImages) -> set[str]:
    return failing(behaviour.run_checks(predict, THRESHOLD, images))


def test_a_model_that_sees_the_opacities_passes(images: BehaviourImages) -> None:
    outcomes = behaviour.run_checks(knowing(images), THRESHOLD, images)
    assert behaviour.failures(outcomes) == []
    assert [outcome.check for outcome in outcomes] == list(CHECKS)
    assert {check.kind for check in CHECKS} == set(KINDS)


@pytest.mark.parametrize("name", FAILS)
def test_a_broken_model_fails(name: str, images: BehaviourImages) -> None:
    failed = names_of_failed(stand_ins(images)[name], images)
    assert failed >= FAILS[name]
    if name.endswith("pneumonia"):
        assert not failed & STEADY


def test_every_check_can_fail() -> None:
    assert set.union(*FAILS.values()) == {check.name for check in CHECKS}
    assert len({check.name for check in CHECKS}) == len(CHECKS)


def test_the_threshold_matters(images: BehaviourImages) -> None:
    predict = knowing(images)
    for threshold, failed in ((0.0, {SPECIFICITY}), (1.1, {SENSITIVITY})):
        outcomes = behaviour.run_checks(predict, threshold, images)
        assert failing(outcomes) == failed


@pytest.mark.parametrize(
    ("value", "sign", "holds"),
    [
        (0.9, AT_LEAST, True), (0.89, AT_LEAST, False),
        (0.9, AT_MOST, True), (0.91, AT_MOST, False),
        (math.nan, AT_LEAST, False), (math.nan, AT_MOST, False),
    ],
)  # fmt: skip
def test_a_value_at_the_bound_holds_and_nan_does_not(value: float, sign: str, holds: bool) -> None:
    check = BehaviourCheck(INVARIANCE, "moved", lambda _: value, sign, 0.9)
    outcome = CheckOutcome(check, value)
    assert outcome.holds is holds
    assert outcome.as_record()["value"] == (None if math.isnan(value) else value)
    expected = [] if holds else [f"moved {value:.3f}, not {sign} 0.9"]
    assert behaviour.failures([outcome]) == expected


def test_images_are_reproducible_and_differ_in_one_thing() -> None:
    first, again = (draw_images(64, patients=2) for _ in range(2))
    for name, images in first.changed.items():
        assert images.shape == (4, 64, 64, 1)
        assert images.dtype == np.uint8
        assert np.array_equal(images, again.changed[name])
    assert first.labels.tolist() == [0, 0, 1, 1]
    assert np.array_equal(first.swapped, again.swapped)
    assert np.array_equal(first.faint, again.faint)
    assert (first.faint != first.original[2:]).any(axis=(1, 2, 3)).all()
    assert (first.swapped != first.original).any(axis=(1, 2, 3)).all()


def test_an_image_moves_by_a_fiftieth_of_its_side_in_each_direction(
    images: BehaviourImages,
) -> None:
    moved, plain = images.changed["moved"], images.original
    assert np.array_equal(moved[0, :, 4:], plain[0, :, :-4])
    assert np.array_equal(moved[1, :, :-4], plain[1, :, 4:])
    assert np.array_equal(moved[2, 4:], plain[2, :-4])
    assert np.array_equal(moved[3, :-4], plain[3, 4:])
    assert not moved[0, :, :4].any()


def test_every_change_changes_images_a_little(images: BehaviourImages) -> None:
    for name, squares in images.changed.items():
        far = np.abs(squares.astype(int) - images.original).mean()
        assert 0 < far < 20, name
