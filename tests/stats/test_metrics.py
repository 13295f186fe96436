"""Metrics match scikit-learn and plain counting; intervals account for patients."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn import metrics as reference

from pneumonia.stats import bootstrap
from pneumonia.stats.calibration import sigmoid
from pneumonia.stats.delong import auc_interval
from pneumonia.stats.metrics import intervals, score

KEYS = [
    "auc", "average_precision", "accuracy", "balanced_accuracy", "sensitivity", "specificity",
    "ppv", "npv", "ppv_at_5", "npv_at_5", "ppv_at_10", "npv_at_10", "ppv_at_20", "npv_at_20",
    "f1", "mcc", "brier", "ece", "calibration_slope", "calibration_intercept",
]  # fmt: skip
SHARES = [key for key in KEYS if not key.startswith("calibration")]
Scored = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]


@st.composite
def scored(draw: st.DrawFn) -> Scored:
    """Labels of both classes, probabilities with ties, and weights that keep both classes."""
    images = draw(
        st.lists(
            st.tuples(st.integers(0, 1), st.integers(0, 20), st.integers(0, 3)),
            min_size=2,
            max_size=40,
        )
    )
    images += [(0, draw(st.integers(0, 20)), 1), (1, draw(st.integers(0, 20)), 1)]
    labels, places, counts = (
        np.array(column, dtype=np.int64) for column in zip(*images, strict=True)
    )
    return labels, places / 20, counts


def simulated(images: int = 120, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Labels and probabilities of a model of AUC about 0.9."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(images) % 2).astype(np.int64)
    return labels, 1 / (1 + np.exp(-(3.6 * labels - 1.8 + 1.9 * rng.standard_normal(images))))


def each_its_own(images: int) -> NDArray[np.str_]:
    return np.array([f"p{number:04d}" for number in range(images)])


@given(scored(), st.integers(0, 20))
def test_the_score_is_scikit_learns(data: Scored, place: int) -> None:
    labels, probability, _ = data
    found = score(labels, probability, place / 20)
    called = (probability >= place / 20).astype(int)
    assert list(found) == KEYS
    expected = {
        "auc": reference.roc_auc_score(labels, probability),
        "average_precision": reference.average_precision_score(labels, probability),
        "accuracy": reference.accuracy_score(labels, called),
        "balanced_accuracy": reference.balanced_accuracy_score(labels, called),
        "sensitivity": reference.recall_score(labels, called),
        "specificity": reference.recall_score(labels, called, pos_label=0),
        "ppv": reference.precision_score(labels, called, zero_division=0),
        "npv": reference.precision_score(labels, called, pos_label=0, zero_division=0),
        "f1": reference.f1_score(labels, called, zero_division=0),
        "mcc": reference.matthews_corrcoef(labels, called),
        "brier": np.mean((probability - labels) ** 2),
    }
    assert {key: found[key] for key in expected} == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("prevalence", "ppv", "npv"),
    # A test of sensitivity 0.9 and specificity 0.8, per 1,000: at 5 % 45 of 235 positives are ill,
    # and 760 of 765 negatives are well; and so on.
    [(5, 45 / 235, 760 / 765), (10, 90 / 270, 720 / 730), (20, 180 / 340, 640 / 660)],
)
def test_predictive_values_at_a_prevalence_are_bayes(
    prevalence: int, ppv: float, npv: float
) -> None:
    labels = np.repeat([1, 0], [10, 5])
    probability = np.repeat([0.9, 0.1, 0.1, 0.9], [9, 1, 4, 1])
    found = score(labels, probability, 0.5)
    assert found[f"ppv_at_{prevalence}"] == pytest.approx(ppv)
    assert found[f"npv_at_{prevalence}"] == pytest.approx(npv)


@given(scored())
def test_auc_is_the_share_of_pairs_in_order(data: Scored) -> None:
    labels, probability, _ = data
    ill, well = probability[labels == 1][:, None], probability[labels == 0][None]
    pairs = (ill > well) + 0.5 * (ill == well)
    assert score(labels, probability, 0.5)["auc"] == pytest.approx(pairs.mean(), abs=1e-9)


@given(scored(), st.integers(0, 20))
def test_a_whole_weight_counts_as_that_many_images(data: Scored, place: int) -> None:
    labels, probability, counts = data
    weighted = score(labels, probability, place / 20, counts.astype(np.float64))
    rows = np.repeat(np.arange(len(labels)), counts)
    repeated = score(labels[rows], probability[rows], place / 20)
    # Weights do not change the bins; see the tests of calibration.
    for found in (weighted, repeated):
        del found["ece"]
    assert weighted == pytest.approx(repeated, rel=1e-5, abs=1e-7)


@given(scored())
def test_no_weights_are_equal_weights(data: Scored) -> None:
    labels, probability, _ = data
    alike = score(labels, probability, 0.5, np.full(len(labels), 2.5))
    unweighted = score(labels, probability, 0.5)
    # Firth's penalty matters less with more images.
    del alike["calibration_slope"], unweighted["calibration_slope"]
    assert alike == pytest.approx(unweighted, abs=1e-9)


def test_an_image_at_the_threshold_is_called_pneumonia() -> None:
    found = score(np.array([0, 1]), np.array([0.2, 0.7]), 0.7)
    assert (found["sensitivity"], found["specificity"]) == (1.0, 1.0)


def test_intervals_are_the_same_for_the_same_seed_and_differ_for_another() -> None:
    labels, probability = simulated()
    patients = each_its_own(len(labels))
    first = intervals(labels, probability, 0.5, patients, 100, 7)
    assert first == intervals(labels, probability, 0.5, patients, 100, 7)
    assert first != intervals(labels, probability, 0.5, patients, 100, 8)


def test_intervals_hold_the_point_estimate_and_are_those_of_a_bootstrap() -> None:
    labels, probability = simulated()
    found = intervals(labels, probability, 0.5, each_its_own(len(labels)), 400, 7)
    assert list(found) == KEYS
    for key, value in score(labels, probability, 0.5).items():
        low, high = found[key]
        assert low < value < high
        assert key not in SHARES or 0 <= low < high <= 1
    # Accuracy is a share of independent images: its standard error is known.
    accuracy = score(labels, probability, 0.5)["accuracy"]
    width = 2 * 1.96 * np.sqrt(accuracy * (1 - accuracy) / len(labels))
    low, high = found["accuracy"]
    assert high - low == pytest.approx(width, rel=0.25)


def test_images_of_one_patient_widen_the_interval() -> None:
    labels, probability = simulated(60)
    labels, probability = np.tile(labels, 4), np.tile(probability, 4)
    alone = intervals(labels, probability, 0.5, each_its_own(240), 200, 7)
    clustered = intervals(labels, probability, 0.5, np.tile(each_its_own(60), 4), 200, 7)
    for key in set(KEYS) - {"ece"}:  # its width depends on its bias
        width, wide = alone[key][1] - alone[key][0], clustered[key][1] - clustered[key][0]
        assert 1.5 * width < wide < 2.7 * width  # four equal images: twice as wide


def test_repeating_every_image_of_its_patient_changes_no_interval() -> None:
    labels, probability = simulated(60)
    once = intervals(labels, probability, 0.5, each_its_own(60), 100, 7)
    names = np.tile(each_its_own(60), 3)
    thrice = intervals(np.tile(labels, 3), np.tile(probability, 3), 0.5, names, 100, 7)
    for key in set(KEYS) - {"calibration_slope"}:  # Firth's penalty matters less with more images
        assert thrice[key] == pytest.approx(once[key], abs=1e-9)


@pytest.mark.parametrize("only", [0, 1])
def test_a_class_of_one_patient_still_gets_intervals(only: int) -> None:
    labels, probability = np.full(12, 1 - only), np.linspace(0.05, 0.95, 12)
    labels[[3, 7]] = only
    patients = each_its_own(12)
    patients[7] = patients[3]
    found = intervals(labels, probability, 0.5, patients, 100, 7)
    assert all(np.isfinite(pair).all() and pair[0] <= pair[1] for pair in found.values())


def test_the_order_of_the_images_changes_no_interval() -> None:
    labels, probability = simulated(60)
    patients = np.repeat(each_its_own(20), 3)
    order = np.random.default_rng(1).permutation(60)
    shuffled = intervals(labels[order], probability[order], 0.5, patients[order], 100, 7)
    for key, pair in intervals(labels, probability, 0.5, patients, 100, 7).items():
        assert shuffled[key] == pytest.approx(pair, abs=1e-9)


def test_images_are_ranked_by_their_logits_where_probabilities_are_equal() -> None:
    labels, logits = np.array([0, 1, 0, 1]), np.array([-2.0, 60.0, 50.0, 55.0])
    probability = np.array([0.1, 1.0, 1.0, 1.0])
    found = score(labels, probability, 0.5, ranking=logits)
    assert found["auc"] == 1
    assert score(labels, probability, 0.5)["auc"] == 0.75
    assert found["accuracy"] == score(labels, probability, 0.5)["accuracy"]


def test_metrics_without_error_still_have_intervals() -> None:
    labels = np.repeat([0, 1], [30, 60])
    probability = np.linspace(0.01, 0.99, 90)
    patients = np.concatenate([each_its_own(30), np.repeat(each_its_own(20), 3)])
    found = intervals(labels, probability, 0.3391, patients, 100, 7)
    # Clopper and Pearson's limits for 20 of 20 and 30 of 30 patients.
    low_sensitivity, low_specificity = 0.8315665, 0.8842967
    assert found["sensitivity"] == pytest.approx((low_sensitivity, 1), abs=1e-6)
    assert found["specificity"] == pytest.approx((low_specificity, 1), abs=1e-6)
    mean = (low_sensitivity + low_specificity) / 2
    assert found["balanced_accuracy"] == pytest.approx((mean, 1), abs=1e-6)
    assert found["auc"] == auc_interval(labels, probability, patients)
    # As many normal images above all 60 others as that AUC implies.
    above = 30 * (1 - found["auc"][0])
    recalled = np.arange(1, 61)
    low = np.mean(recalled / (recalled + above))
    assert found["average_precision"] == pytest.approx((low, 1), abs=0.01)
    for key in ("accuracy", "ppv", "npv", "ppv_at_5", "npv_at_5", "f1", "mcc"):
        assert 0 < found[key][0] < found[key][1] == 1
    found = intervals(labels, probability, 0.0, patients, 100, 7)
    assert found["specificity"] == pytest.approx((0, 1 - low_specificity), abs=1e-6)
    # One class without error: the other class, and metrics of both, have bootstrap intervals.
    found = intervals(labels, probability, 0.36, patients, 100, 7)
    assert found["specificity"] == pytest.approx((low_specificity, 1), abs=1e-6)
    assert found["sensitivity"][1] <= 1 and found["accuracy"][0] < 0.99


def test_resamples_are_the_same_in_blocks_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, probability = simulated()
    once = intervals(labels, probability, 0.5, each_its_own(120), 100, 7)
    monkeypatch.setattr(bootstrap, "_BLOCK", 1000)
    blocks = intervals(labels, probability, 0.5, each_its_own(120), 100, 7)
    for key, pair in once.items():
        assert blocks[key] == pytest.approx(pair, rel=1e-6)


def images_of(
    seed: int, patients: int, slope: float
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.str_]]:
    """One or two images a patient, correlated within a patient; only the slope is miscalibrated."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(patients), rng.integers(1, 3, patients))
    honest = 2.2 * rng.standard_normal(patients)[who] + 0.8 * rng.standard_normal(len(who)) + 0.4
    # The outcomes of one patient are correlated, too.
    luck = norm.cdf(0.8 * rng.standard_normal(patients)[who] + 0.6 * rng.standard_normal(len(who)))
    return (luck < sigmoid(slope * honest)).astype(np.int64), sigmoid(honest), who.astype(str)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize(
    ("patients", "slope", "keys"),
    # Well calibrated, an error of 0.03; and badly, 0.10, for the calibration error alone.
    [(400, 1.25, KEYS), (300, 0.5, ["ece"])],
)
def test_intervals_have_their_nominal_coverage(
    patients: int, slope: float, keys: list[str]
) -> None:
    # The true values, from very many patients.
    many = [images_of(seed, patients, slope) for seed in range(1000)]
    labels, probability = (np.concatenate([draw[i] for draw in many]) for i in (0, 1))
    truth = score(labels, probability, 0.5)
    draws = 500
    covered = dict.fromkeys(KEYS, 0)
    for seed in range(draws):
        labels, probability, names = images_of(20_000 + seed, patients, slope)
        found = intervals(labels, probability, 0.5, names, 400, seed)
        for key, (low, high) in found.items():
            covered[key] += low <= truth[key] <= high
    shares = {key: covered[key] / draws for key in keys}
    assert {key: share for key, share in shares.items() if not 0.93 <= share <= 0.97} == {}
