"""Calibration recovers a known slope and shift; its measures match statsmodels and counting."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.calibration import _sigmoid_calibration

from pneumonia.inference.operating_point import OperatingPoint
from pneumonia.stats.calibration import (
    BINS,
    bins,
    calibration_intercept,
    calibration_slope,
    expected_calibration_error,
    fit,
    logit,
    sigmoid,
)
from tests.pipeline.imports import ROOT

# 20 images, and results of statsmodels 0.15 for them: Logit(y, [1, x]).fit() has the slope, and
# GLM(y, 1, Binomial, offset=x).fit() the intercept.
LABELS = np.array([0, 0, 0, 1, 0, 1, 1, 0, 0, 1, 0, 1, 1, 0, 1, 1, 1, 0, 1, 1])
LOGITS = np.linspace(-2.5, 3.2, 20)


def simulated(
    slope: float, intercept: float, images: int = 20_000
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Images whose true log odds are slope * logit + intercept."""
    rng = np.random.default_rng(5)
    honest = rng.normal(0.5, 2.0, images)
    labels = (rng.random(images) < sigmoid(honest)).astype(np.int64)
    return labels, ((honest - intercept) / slope).astype(np.float32)


@pytest.mark.parametrize(("slope", "intercept"), [(5.0, 0.0), (1.0, 1.5), (0.1, -2.0), (0.4, 3.0)])
def test_platt_recovers_slope_and_intercept(slope: float, intercept: float) -> None:
    found = fit("platt", *simulated(slope, intercept))
    assert found == (pytest.approx(slope, rel=0.05), pytest.approx(intercept, abs=0.06))


@pytest.mark.parametrize("slope", [5.0, 1.0, 0.3, 0.1])
def test_the_temperature_recovers_the_slope(slope: float) -> None:
    assert fit("temperature", *simulated(slope, 0)) == (pytest.approx(slope, rel=0.05), 0.0)


def test_none_leaves_the_logit_alone() -> None:
    assert fit("none", *simulated(3, 1, 50)) == (1.0, 0.0)


@pytest.mark.parametrize("seed", range(4))
def test_platts_method_is_scikit_learns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], [20, 45])
    logits = rng.normal(2.0 * labels - 3, 1.5)
    a, b = _sigmoid_calibration(logits, labels)  # p = 1 / (1 + exp(a f + b))
    assert fit("platt", labels, logits) == pytest.approx((-a, -b), abs=1e-3)


@pytest.mark.parametrize("method", ["platt", "temperature"])
def test_the_slope_stays_within_its_bounds_and_above_zero(method: str) -> None:
    labels, logits = np.array([0, 0, 1, 1]), np.array([-5, -4, 4, 5], np.float32)
    # Without the limit, the slope for the reversed logits would be below 0.
    assert fit(method, labels, -logits)[0] == pytest.approx(1 / 20)
    assert fit(method, labels, 0.001 * logits)[0] == pytest.approx(20)


def test_one_logit_for_all_images_gets_the_share_of_pneumonia() -> None:
    labels = np.repeat([0, 1], [10, 30])
    slope, intercept = fit("platt", labels, np.full(40, 3.0))
    # The mean of Platt's targets, 31 / 32 and 1 / 12.
    assert sigmoid(np.array(slope * 3 + intercept)) == pytest.approx(0.75 * 31 / 32 + 0.25 / 12)


@pytest.mark.parametrize("method", ["platt", "temperature"])
@pytest.mark.parametrize("margin", [0.1, 3, 40])
def test_a_perfectly_separated_split_gives_no_certainty(method: str, margin: float) -> None:
    labels = np.repeat([0, 1], 20)
    logits = np.where(labels == 1, margin, -margin).astype(np.float32)
    slope, intercept = fit(method, labels, logits)
    found = sigmoid(slope * logits.astype(np.float64) + intercept)[[0, -1]]
    # Platt's targets are 21 / 22 and 1 / 22; at a margin of 0.1 they would need a slope of 30.
    aim = min(np.log(21), 20 * margin)
    assert found == pytest.approx(sigmoid(np.array([-aim, aim])), rel=1e-3)


def test_a_slope_that_reverses_the_ranking_is_refused() -> None:
    for slope in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="not above 0"):
            OperatingPoint(slope, 0.0, 0.5, 1.0)


def test_the_operating_point_scales_and_shifts_the_logit() -> None:
    point = OperatingPoint(slope=0.5, intercept=1.0, threshold=0.5, map_scale=1.0)
    found = point.probability(np.array([-4, -2, 0], np.float32))
    assert found.dtype == np.float64
    assert found == pytest.approx([0.2689414, 0.5, 0.7310586], abs=1e-7)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=60))
def test_bins_hold_images_of_equal_count_and_keep_ties_together(places: list[int]) -> None:
    probability = np.array(places) / 30
    found = bins(probability)
    assert found.min() >= 0 and found.max() < BINS
    order = np.argsort(probability, kind="stable")
    assert (np.diff(found[order]) >= 0).all()
    for value in set(places):
        assert len(set(found[probability == value / 30])) == 1
    if len(set(places)) == len(places):
        counts = np.bincount(found, minlength=BINS)
        assert counts.max() - counts.min() <= 1


def test_the_calibration_error_equals_plain_counting() -> None:
    rng = np.random.default_rng(3)
    probability = rng.random(100)
    labels = (rng.random(100) < probability**2).astype(np.int64)
    order = np.argsort(probability)
    tenths = [order[start : start + 10] for start in range(0, 100, 10)]
    expected = np.mean([abs(labels[t].mean() - probability[t].mean()) for t in tenths])
    found = expected_calibration_error(labels, probability, np.ones((1, 100)))
    assert found == pytest.approx([expected], abs=1e-12)


def test_slope_and_intercept_are_statsmodels() -> None:
    weights = np.ones((1, 20))
    probability = sigmoid(LOGITS)
    assert calibration_intercept(LABELS, probability, weights) == pytest.approx(
        [-0.018124], abs=1e-6
    )
    # The maximum of the likelihood; Firth's penalty matters less with more images.
    many = np.tile(LABELS, 500), np.tile(probability, 500)
    assert calibration_slope(*many, np.ones((1, 10_000))) == pytest.approx([0.53385293], rel=1e-3)
    assert calibration_slope(LABELS, probability, 500 * weights) == pytest.approx(
        [0.53385293], rel=1e-3
    )


@pytest.mark.parametrize("separated", [False, True])
def test_the_slope_maximises_firths_penalised_likelihood(separated: bool) -> None:
    labels = (LOGITS > 0.2).astype(np.int64) if separated else LABELS
    design = np.stack([np.ones(20), LOGITS], axis=1)

    def penalised(parameters: NDArray[np.float64]) -> float:
        z = design @ parameters
        p = sigmoid(z)
        information = design.T @ (design * (p * (1 - p))[:, None])
        likelihood = float((labels * z - np.logaddexp(0, z)).sum())
        return -likelihood - 0.5 * float(np.linalg.slogdet(information)[1])

    best = minimize(
        penalised, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12}
    )
    found = calibration_slope(labels, sigmoid(LOGITS), np.ones((1, 20)))
    assert found == pytest.approx([best.x[1]], rel=1e-5)


@pytest.mark.parametrize("scale", [0.01, 1, 8])
def test_measures_of_perfectly_separated_images_are_finite(scale: float) -> None:
    labels = np.repeat([0, 1], [5, 30])
    probability = sigmoid(scale * np.where(labels == 1, 3.0, -3.0))
    weights = np.random.default_rng(0).integers(0, 3, (50, 35)).astype(float)
    weights[:, [0, -1]] += 1
    slope = calibration_slope(labels, probability, weights)
    assert np.isfinite(slope).all() and (slope > 0).all()
    assert np.isfinite(calibration_intercept(labels, probability, weights)).all()


def test_one_probability_for_all_images_has_a_slope_of_zero() -> None:
    assert calibration_slope(LABELS, np.full(20, 0.3), np.ones((3, 20))).tolist() == [0, 0, 0]


@given(st.integers(0, 1000))
def test_a_resample_is_measured_like_its_images(seed: int) -> None:
    counts = np.random.default_rng(seed).integers(0, 3, 20)
    counts[[0, -1]] += 1
    rows = np.repeat(np.arange(20), counts)
    probability = sigmoid(LOGITS)
    for measure in (calibration_slope, calibration_intercept):
        weighted = measure(LABELS, probability, counts[None].astype(float))
        repeated = measure(LABELS[rows], probability[rows], np.ones((1, len(rows))))
        assert weighted == pytest.approx(repeated, rel=1e-5, abs=1e-7)


def test_the_logit_inverts_the_sigmoid() -> None:
    assert logit(sigmoid(np.linspace(-20, 20, 9))) == pytest.approx(np.linspace(-20, 20, 9))
    assert np.isfinite(logit(np.array([0.0, 1.0]))).all()


@given(st.lists(st.floats(-700, 700), min_size=1, max_size=20))
def test_the_sigmoid_is_the_logistic_function(values: list[float]) -> None:
    found = sigmoid(np.array(values))
    assert found == pytest.approx([1 / (1 + np.exp(-value)) for value in values], rel=1e-9)


def test_the_sigmoid_does_not_overflow() -> None:
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        assert sigmoid(np.array([-1e30, -1e4, 0.0, 1e4, 1e30])).tolist() == [0, 0, 0.5, 1, 1]


def test_importing_the_module_loads_no_heavy_library() -> None:
    script = (
        "import sys; import pneumonia.stats.calibration;"
        "sys.exit(bool({'scipy', 'sklearn', 'pandas'} & set(sys.modules)))"
    )
    environment = {"PYTHONPATH": str(ROOT / "src")}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment)
