"""Every check can fail, and a model that sees the opacities passes all of them."""

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
    Answer,
    BehaviourImages,
    Outcome,
    draw_images,
)
from tests.evaluation.behaviour.stand_ins import (
    THRESHOLD,
    border,
    brightness,
    by_lot,
    constant,
    inverted,
    knowing,
    reader,
    sharpness,
)

MOVED, TURNED, EXPOSURE, CONTRAST, BLURRED, NOISY, JPEG, LARGER, CHANGE = (
    one.name for one in CHECKS if one.kind == INVARIANCE
)
ADDED, ERASED, DOUBLED, AUC, SENSITIVITY, SPECIFICITY = (
    one.name for one in CHECKS if one.kind != INVARIANCE
)
# What each of them fails, at least.
FAILS = {
    "inverted": {ADDED, ERASED, DOUBLED, AUC, SENSITIVITY},
    "always pneumonia": {ADDED, ERASED, DOUBLED, AUC, SPECIFICITY},
    "never pneumonia": {ADDED, ERASED, DOUBLED, AUC, SENSITIVITY},
    "by lot": {MOVED, TURNED, EXPOSURE, CONTRAST, BLURRED, NOISY, JPEG, LARGER, CHANGE, ADDED},
    "reads the mean grey": {CHANGE, ADDED, ERASED, DOUBLED, AUC},
    "reads the border": {EXPOSURE, CHANGE, ADDED, ERASED, DOUBLED, AUC},
    "reads the finest detail": {TURNED, BLURRED, NOISY, JPEG, CHANGE, DOUBLED, AUC},
}
# What a stand-in that always says the same cannot fail.
STEADY = {MOVED, TURNED, EXPOSURE, CONTRAST, BLURRED, NOISY, JPEG, LARGER, CHANGE}


def stand_ins(images: BehaviourImages) -> dict[str, Answer]:
    return {
        "inverted": inverted(knowing(images)),
        "always pneumonia": constant(0.7),
        "never pneumonia": constant(0.3),
        "by lot": by_lot,
        "reads the mean grey": reader(brightness, images),
        "reads the border": reader(border, images),
        "reads the finest detail": reader(sharpness, images),
    }


def names_of_failed(answer: Answer, images: BehaviourImages) -> set[str]:
    return {one.name for one in behaviour.check(answer, THRESHOLD, images) if not one.holds}


def test_a_model_that_sees_the_opacities_passes(images: BehaviourImages) -> None:
    outcomes = behaviour.check(knowing(images), THRESHOLD, images)
    assert behaviour.failed(outcomes) == []
    assert [one.kind for one in outcomes] == [one.kind for one in CHECKS]
    assert {one.kind for one in outcomes} == set(KINDS)


@pytest.mark.parametrize("name", FAILS)
def test_a_broken_model_fails(name: str, images: BehaviourImages) -> None:
    failed = names_of_failed(stand_ins(images)[name], images)
    assert failed >= FAILS[name]
    if name.endswith("pneumonia"):
        assert not failed & STEADY


def test_no_check_is_left_that_cannot_fail() -> None:
    assert set.union(*FAILS.values()) == {one.name for one in CHECKS}
    assert len({one.name for one in CHECKS}) == len(CHECKS)


def test_where_the_threshold_lies_decides(images: BehaviourImages) -> None:
    answer = knowing(images)
    for threshold, failed in ((0.0, {SPECIFICITY}), (1.1, {SENSITIVITY})):
        outcomes = behaviour.check(answer, threshold, images)
        assert {one.name for one in outcomes if not one.holds} == failed


@pytest.mark.parametrize(
    ("value", "sign", "holds"),
    [
        (0.9, AT_LEAST, True), (0.89, AT_LEAST, False),
        (0.9, AT_MOST, True), (0.91, AT_MOST, False),
        (math.nan, AT_LEAST, False), (math.nan, AT_MOST, False),
    ],
)  # fmt: skip
def test_a_figure_at_the_bound_holds_and_none_does_not(
    value: float, sign: str, holds: bool
) -> None:
    outcome = Outcome(INVARIANCE, "moved", value, sign, 0.9)
    assert outcome.holds is holds
    assert outcome.as_record()["value"] == (None if math.isnan(value) else value)
    told = [] if holds else [f"moved {value:.3f}, not {sign} 0.9"]
    assert behaviour.failed([outcome]) == told


def test_images_are_the_same_each_time_and_differ_in_one_thing() -> None:
    first, again = (draw_images(64, patients=2) for _ in range(2))
    for name, images in first.changed.items():
        assert images.shape == (4, 64, 64, 1)
        assert images.dtype == np.uint8
        assert np.array_equal(images, again.changed[name])
    assert first.labels.tolist() == [0, 0, 1, 1]
    assert np.array_equal(first.other, again.other)
    assert np.array_equal(first.faint, again.faint)
    assert (first.faint != first.plain[2:]).any(axis=(1, 2, 3)).all()
    assert (first.other != first.plain).any(axis=(1, 2, 3)).all()


def test_a_image_moves_by_a_fiftieth_of_its_side_in_each_direction(images: BehaviourImages) -> None:
    moved, plain = images.changed["moved"], images.plain
    assert np.array_equal(moved[0, :, 4:], plain[0, :, :-4])
    assert np.array_equal(moved[1, :, :-4], plain[1, :, 4:])
    assert np.array_equal(moved[2, 4:], plain[2, :-4])
    assert np.array_equal(moved[3, :-4], plain[3, 4:])
    assert not moved[0, :, :4].any()


def test_every_change_changes_images_a_little(images: BehaviourImages) -> None:
    for name, squares in images.changed.items():
        far = np.abs(squares.astype(int) - images.plain).mean()
        assert 0 < far < 20, name
