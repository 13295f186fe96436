"""The threshold is the best by plain search; the pool decides where unshifted images cannot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pneumonia.core.config import load_params
from pneumonia.core.errors import InputError
from pneumonia.evaluation.threshold import Pool, choose_logit, choose_operating_point
from pneumonia.stats import calibration

ROOT = Path(__file__).parents[2]


def pool(labels: list[int], logits: list[float], weights: list[float] | None = None) -> Pool:
    counted = np.ones(len(labels)) if weights is None else np.array(weights, float)
    return Pool(np.array(labels), np.array(logits), counted)


@st.composite
def pools(draw: st.DrawFn) -> Pool:
    """Images of both classes with ties and whole weights."""
    image = st.tuples(st.integers(0, 1), st.integers(-6, 6), st.integers(1, 3))
    images = draw(st.lists(image, max_size=30))
    images += [(0, draw(st.integers(-6, 6)), 1), (1, draw(st.integers(-6, 6)), 1)]
    labels, logits, weights = zip(*images, strict=True)
    return pool(list(labels), list(logits), list(weights))


def rates(images: Pool, threshold: float) -> tuple[float, float, float, float]:
    """Sensitivity, specificity, weight of missed images, weight of false alarms."""
    called, ill = images.logits >= threshold, images.labels == 1
    w: NDArray[np.float64] = images.weights
    hits, cleared = w[called & ill].sum(), w[~called & ~ill].sum()
    missed, alarms = w[ill].sum() - hits, w[~ill].sum() - cleared
    return hits / w[ill].sum(), cleared / w[~ill].sum(), missed, alarms


def candidates(images: Pool) -> list[float]:
    levels = np.unique(images.logits)
    return [-np.inf, *((levels[1:] + levels[:-1]) / 2), np.inf]


@given(pools())
def test_no_threshold_has_a_higher_j(images: Pool) -> None:
    best = max(sum(rates(images, t)[:2]) for t in candidates(images))
    assert sum(rates(images, choose_logit("youden", images))[:2]) == pytest.approx(best, abs=1e-9)


@given(pools(), st.sampled_from(["0.5", "0.75", "0.9", "1", "1.0"]))
def test_no_threshold_with_the_sensitivity_has_a_higher_specificity(images: Pool, x: str) -> None:
    found = rates(images, choose_logit(f"sensitivity>={x}", images))
    enough = [
        rates(images, t) for t in candidates(images) if rates(images, t)[0] >= float(x) - 1e-12
    ]
    assert found[0] >= float(x) - 1e-12
    assert found[1] == pytest.approx(max(pair[1] for pair in enough), abs=1e-9)
    # Of equals, the more sensitive.
    same = [pair[0] for pair in enough if pair[1] == pytest.approx(found[1], abs=1e-9)]
    assert found[0] == pytest.approx(max(same), abs=1e-9)


@given(pools(), st.sampled_from([(5, 1), (1, 1), (0.5, 3), (1, 100)]))
def test_no_threshold_costs_less(images: Pool, costs: tuple[float, float]) -> None:
    def cost(threshold: float) -> float:
        _, _, missed, alarms = rates(images, threshold)
        return costs[0] * missed + costs[1] * alarms

    found = choose_logit(f"cost {costs[0]}:{costs[1]}", images)
    assert cost(found) == pytest.approx(min(cost(t) for t in candidates(images)), abs=1e-6)


@given(pools(), st.sampled_from(["youden", "sensitivity>=0.8", "cost 2:1"]))
def test_a_weight_is_that_many_images_and_no_threshold_lies_on_an_image(
    images: Pool, rule: str
) -> None:
    counts = images.weights.astype(int)
    repeated = Pool(
        np.repeat(images.labels, counts), np.repeat(images.logits, counts), np.ones(counts.sum())
    )
    found = choose_logit(rule, images)
    assert choose_logit(rule, repeated) == pytest.approx(found, abs=1e-9)
    assert found not in images.logits


@pytest.mark.parametrize("rule", ["youden", "sensitivity>=0.5", "cost 5:1"])
@pytest.mark.parametrize(("low", "high"), [(-2.0, 1.0), (-8.0, -3.0), (40.0, 40.5)])
def test_separated_images_get_the_middle_of_the_gap(rule: str, low: float, high: float) -> None:
    found = choose_logit(rule, pool([0, 0, 1, 1], [low - 1, low, high, high + 6]))
    assert found == pytest.approx((low + high) / 2, abs=1e-9)


def test_of_equally_good_thresholds_the_one_in_the_widest_gap_is_taken() -> None:
    # At both bars of 0 | 1 0 | 1 J is 0.5; the first gap is the wider one.
    assert choose_logit("youden", pool([0, 1, 0, 1], [-10, -6, -1, 1])) == pytest.approx(-8)


def test_errors_in_the_gap_decide_within_it() -> None:
    clean = pool([0, 0, 1, 1], [-9, -8, 8, 9])
    assert choose_logit("youden", clean) == pytest.approx(0)
    # The ill images' shifted versions come down to -4, those of the normal ones stay below -5.
    labels, logits = [0, 0, 1, 1] * 2, [-9, -8, 8, 9, -6, -5, -4, 2]
    assert choose_logit("youden", pool(labels, logits)) == pytest.approx(-4.5)
    # One normal image of three rises to 0; the rule says what it is worth.
    mixed = pool([0, 0, 0, 1, 1], [-9, -5, 0, -4, 2])
    assert choose_logit("sensitivity>=1", mixed) == pytest.approx(-4.5)
    assert choose_logit("cost 5:1", mixed) == pytest.approx(-4.5)
    assert choose_logit("cost 1:5", mixed) == pytest.approx(1)


def test_one_logit_for_all_images_calls_all() -> None:
    assert choose_logit("youden", pool([0, 1, 1], [2, 2, 2])) == -np.inf


def test_the_operating_point_has_calibration_threshold_and_heat_scale() -> None:
    labels = np.array([0, 1, 1, 1])
    maps = np.zeros((4, 2, 3), np.float32)
    maps[:, 1, 2] = [100, 1, 2, 9]
    logits = np.array([-1, 1, 2, 0.5], np.float32)
    # The unshifted images alone would give a logit of -0.25; the gap of the pool is elsewhere.
    pool = Pool(np.array([0, 1]), np.array([0.6, 1.0]), np.ones(2))
    point = choose_operating_point(labels, logits, maps, pool, "youden", "platt")
    assert point.map_scale == 2.0
    assert (point.slope, point.intercept) == calibration.fit("platt", labels, logits)
    assert point.probability(np.array([0.8])) == pytest.approx([point.threshold], abs=1e-12)
    called = point.probability(logits) >= point.threshold
    assert called.tolist() == [False, True, True, False]
    assert choose_operating_point(labels, logits, 0 * maps, pool, "youden", "none").map_scale == 1.0


def test_a_threshold_at_either_end_calls_all_images_or_none() -> None:
    labels, logits = np.array([0, 1, 0, 1]), np.array([2.0, 1.0, -3.0, -4.0])
    pool = Pool(labels, logits, np.ones(4))
    for rule, threshold in (("sensitivity>=1", 0.0), ("cost 1:99", 1.0)):
        point = choose_operating_point(
            labels, logits, np.ones((4, 1, 1), np.float32), pool, rule, "none"
        )
        assert point.threshold == threshold


def load_with(tmp_path: Path, line: str) -> str:
    text = (ROOT / "params.yaml").read_text()
    before = "  threshold: youden "
    assert before in text
    file = tmp_path / "params.yaml"
    file.write_text(text.replace(before, f"  {line} "))
    return load_params(file).evaluate.threshold


@pytest.mark.parametrize("rule", ["youden", "sensitivity>=0.95", "sensitivity>=1", "cost 2.5:1"])
def test_rules_are_read(tmp_path: Path, rule: str) -> None:
    assert load_with(tmp_path, f"threshold: {rule}") == rule


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("Youden", "should be youden, sensitivity>=0.95 or cost 5:1 (any numbers), not 'Youden'"),
        ("sensitivity>0.9", "should be youden, sensitivity>=0.95 or cost 5:1"),
        ("sensitivity>=.9", "should be youden"),
        ("cost 5", "should be youden"),
        ("cost -1:2", "should be youden"),
        ("sensitivity>=95", "the sensitivity should be above 0 and at most 1"),
        ("sensitivity>=0", "the sensitivity should be above 0 and at most 1"),
        ("cost 0:1", "both costs should be above 0"),
        ("cost 1:0.0", "both costs should be above 0"),
        ("0.5", "valid string"),
    ],
)
def test_an_invalid_rule_is_one_clear_line(tmp_path: Path, rule: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        load_with(tmp_path, f"threshold: {rule}")
    [line] = str(error.value).splitlines()
    assert "evaluate.threshold: " in line
    assert message in line
