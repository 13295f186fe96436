"""The figures are those of scikit-learn and of plain counting; the intervals know patients."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as reference

from pneumonia.evaluation.metrics import intervals, score

KEYS = ["auc", "average_precision", "accuracy", "sensitivity", "specificity", "brier"]
Scored = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]


@st.composite
def scored(draw: st.DrawFn) -> Scored:
    """Labels of both classes, probabilities with ties, and counts that leave both classes some."""
    films = draw(
        st.lists(
            st.tuples(st.integers(0, 1), st.integers(0, 20), st.integers(0, 3)),
            min_size=2,
            max_size=40,
        )
    )
    films += [(0, draw(st.integers(0, 20)), 1), (1, draw(st.integers(0, 20)), 1)]
    labels, places, counts = (
        np.array(column, dtype=np.int64) for column in zip(*films, strict=True)
    )
    return labels, places / 20, counts


def simulated(films: int = 120, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Labels and probabilities of a model of AUC about 0.9."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(films) % 2).astype(np.int64)
    return labels, 1 / (1 + np.exp(-(3.6 * labels - 1.8 + 1.9 * rng.standard_normal(films))))


def each_its_own(films: int) -> NDArray[np.str_]:
    return np.array([f"p{number:04d}" for number in range(films)])


@given(scored(), st.integers(0, 20))
def test_the_score_is_scikit_learns(data: Scored, place: int) -> None:
    labels, probability, _ = data
    found = score(labels, probability, place / 20)
    called = (probability >= place / 20).astype(int)
    assert list(found) == KEYS
    assert found == pytest.approx(
        {
            "auc": reference.roc_auc_score(labels, probability),
            "average_precision": reference.average_precision_score(labels, probability),
            "accuracy": reference.accuracy_score(labels, called),
            "sensitivity": reference.recall_score(labels, called),
            "specificity": reference.recall_score(labels, called, pos_label=0),
            "brier": np.mean((probability - labels) ** 2),
        },
        abs=1e-9,
    )


@given(scored())
def test_auc_is_the_share_of_pairs_in_order(data: Scored) -> None:
    labels, probability, _ = data
    ill, well = probability[labels == 1][:, None], probability[labels == 0][None]
    pairs = (ill > well) + 0.5 * (ill == well)
    assert score(labels, probability, 0.5)["auc"] == pytest.approx(pairs.mean(), abs=1e-9)


@given(scored(), st.integers(0, 20))
def test_a_whole_weight_counts_as_that_many_films(data: Scored, place: int) -> None:
    labels, probability, counts = data
    weighted = score(labels, probability, place / 20, counts.astype(np.float64))
    rows = np.repeat(np.arange(len(labels)), counts)
    assert weighted == pytest.approx(score(labels[rows], probability[rows], place / 20), abs=1e-9)


@given(scored())
def test_no_weights_are_equal_weights(data: Scored) -> None:
    labels, probability, _ = data
    alike = score(labels, probability, 0.5, np.full(len(labels), 2.5))
    assert alike == pytest.approx(score(labels, probability, 0.5), abs=1e-9)


def test_a_film_at_the_threshold_is_called_pneumonia() -> None:
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
        assert 0 <= low < value < high <= 1
    # Accuracy is a share of independent films: its standard error is known.
    accuracy = score(labels, probability, 0.5)["accuracy"]
    width = 2 * 1.96 * np.sqrt(accuracy * (1 - accuracy) / len(labels))
    low, high = found["accuracy"]
    assert high - low == pytest.approx(width, rel=0.25)


def test_films_of_one_patient_widen_the_interval() -> None:
    labels, probability = simulated(60)
    labels, probability = np.tile(labels, 4), np.tile(probability, 4)
    alone = intervals(labels, probability, 0.5, each_its_own(240), 200, 7)
    clustered = intervals(labels, probability, 0.5, np.tile(each_its_own(60), 4), 200, 7)
    for key in KEYS:
        width, wide = alone[key][1] - alone[key][0], clustered[key][1] - clustered[key][0]
        assert 1.5 * width < wide < 2.7 * width  # four films that are one: twice as wide


def test_repeating_every_film_of_its_patient_changes_no_interval() -> None:
    labels, probability = simulated(60)
    once = intervals(labels, probability, 0.5, each_its_own(60), 100, 7)
    names = np.tile(each_its_own(60), 3)
    thrice = intervals(np.tile(labels, 3), np.tile(probability, 3), 0.5, names, 100, 7)
    for key in KEYS:
        assert thrice[key] == pytest.approx(once[key], abs=1e-9)


@pytest.mark.parametrize("only", [0, 1])
def test_a_class_of_one_patient_still_gets_intervals(only: int) -> None:
    labels, probability = np.full(12, 1 - only), np.linspace(0.05, 0.95, 12)
    labels[[3, 7]] = only
    patients = each_its_own(12)
    patients[7] = patients[3]
    found = intervals(labels, probability, 0.5, patients, 100, 7)
    assert all(np.isfinite(pair).all() and pair[0] <= pair[1] for pair in found.values())


def test_the_order_of_the_films_changes_no_interval() -> None:
    labels, probability = simulated(60)
    patients = np.repeat(each_its_own(20), 3)
    order = np.random.default_rng(1).permutation(60)
    shuffled = intervals(labels[order], probability[order], 0.5, patients[order], 100, 7)
    for key, pair in intervals(labels, probability, 0.5, patients, 100, 7).items():
        assert shuffled[key] == pytest.approx(pair, abs=1e-9)


def test_films_are_ranked_by_their_logits_where_probabilities_are_equal() -> None:
    labels, logits = np.array([0, 1, 0, 1]), np.array([-2.0, 60.0, 50.0, 55.0])
    probability = np.array([0.1, 1.0, 1.0, 1.0])
    found = score(labels, probability, 0.5, ranking=logits)
    assert found["auc"] == 1
    assert score(labels, probability, 0.5)["auc"] == 0.75
    assert found["accuracy"] == score(labels, probability, 0.5)["accuracy"]
