"""Curves on a grid equal scikit-learn's and plain counts; their bands have the right coverage."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.metrics import confusion_matrix, precision_recall_curve, roc_curve

from pneumonia.evaluation.curves import (
    DECISION_THRESHOLDS,
    FALSE_POSITIVE_RATES,
    RECALLS,
    curves,
    net_benefit,
    ranked_curves,
    reliability,
)
from pneumonia.stats.bootstrap import bootstrap, percentile_interval


def predictions(seed: int = 0, patients: int = 60, gap: float = 2.0) -> pd.DataFrame:
    """One to three images per patient, correlated within a patient."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(patients), rng.integers(1, 4, patients))
    labels = who % 2
    logits = gap * labels - gap / 2 + rng.standard_normal(patients)[who]
    logits += 0.7 * rng.standard_normal(len(who))
    return pd.DataFrame(
        {
            "label": labels, "logit": logits, "patient_id": [f"p{patient}" for patient in who],
            "probability": 1 / (1 + np.exp(-logits)),
        }
    )  # fmt: skip


@st.composite
def ranked_images(draw: st.DrawFn) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    images = draw(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 8)), max_size=40))
    images += [(0, draw(st.integers(0, 8))), (1, draw(st.integers(0, 8)))]
    labels, scores = zip(*images, strict=True)
    return np.array(labels), np.array(scores, float)


@given(ranked_images())
def test_curves_equal_scikit_learns_on_the_grid(
    images: tuple[NDArray[np.int64], NDArray[np.float64]],
) -> None:
    labels, scores = images
    tpr, precision = ranked_curves(labels, scores, np.ones((1, len(labels))))
    fprs, tprs, _ = roc_curve(labels, scores, drop_intermediate=False)
    expected = [tprs[fprs <= rate + 1e-9].max() for rate in FALSE_POSITIVE_RATES]
    assert tpr[0] == pytest.approx(expected)
    precisions, recalls, _ = precision_recall_curve(labels, scores)
    # scikit-learn's last point, recall 0, has no threshold; recall decreases along the others.
    precisions, recalls = precisions[:-1], recalls[:-1]
    expected = [precisions[recalls >= aim - 1e-9][-1] for aim in RECALLS]
    assert precision[0] == pytest.approx(expected)


def test_a_weight_is_that_many_images() -> None:
    table = predictions()
    labels, scores = table["label"].to_numpy(), table["logit"].to_numpy()
    counts = np.random.default_rng(1).integers(0, 3, len(labels))
    rows = np.repeat(np.arange(len(labels)), counts)
    weighted = ranked_curves(labels, scores, counts[None].astype(float))
    repeated = ranked_curves(labels[rows], scores[rows], np.ones((1, len(rows))))
    for one, other in zip(weighted, repeated, strict=True):
        assert one == pytest.approx(other)


def test_the_net_benefit_is_vickers_and_elkins() -> None:
    table = predictions()
    labels, probability = table["label"].to_numpy(), table["probability"].to_numpy()
    found = net_benefit(labels, probability, np.ones((1, len(labels))))[0]
    for place, threshold in enumerate(DECISION_THRESHOLDS):
        called = probability >= threshold
        hits, alarms = (called & (labels == 1)).sum(), (called & (labels == 0)).sum()
        weight = threshold / (1 - threshold)
        assert found[place] == pytest.approx((hits - alarms * weight) / len(labels))


def test_treating_all_is_worth_nothing_at_the_prevalence() -> None:
    table = predictions(patients=100)
    found = curves(table, 0.5, 100, 7)["decision"]
    prevalence = table["label"].mean()
    assert np.interp(prevalence, found["threshold"], found["treat_all"]) == pytest.approx(
        0, abs=5e-3
    )
    assert (found["treat_none"] == 0).all()
    # Below every probability the model treats all.
    everyone = table.assign(probability=table["probability"] / 2 + 0.5)
    low = curves(everyone, 0.5, 100, 7)["decision"].query("threshold < 0.5")
    assert low["net_benefit"].to_numpy() == pytest.approx(low["treat_all"].to_numpy())


def test_each_curve_has_few_rows_and_a_band() -> None:
    table = predictions()
    found = curves(table, 0.5, 200, 7)
    shapes = {name: list(curve.columns) for name, curve in found.items()}
    assert shapes == {
        "roc": ["fpr", "tpr", "low", "high"],
        "precision_recall": ["recall", "precision", "low", "high"],
        "reliability": ["bin", "images", "probability", "observed", "low", "high"],
        "decision": ["threshold", "net_benefit", "low", "high", "treat_all", "treat_none"],
        "scores": ["probability", "normal", "pneumonia"],
        "confusion": ["actual", "predicted"],
    }
    for name, value in (
        ("roc", "tpr"), ("precision_recall", "precision"), ("decision", "net_benefit"),
        ("reliability", "observed"),
    ):  # fmt: skip
        curve = found[name]
        assert len(curve) <= 101
        assert curve.notna().all().all()
        assert (curve["low"] <= curve[value] + 1e-9).mean() > 0.95
        assert (curve["high"] >= curve[value] - 1e-9).mean() > 0.95
    again = curves(table, 0.5, 200, 7)
    for name, curve in found.items():
        pd.testing.assert_frame_equal(curve, again[name])


def test_histogram_and_confusion_count_every_image() -> None:
    table = predictions()
    found = curves(table, 0.3, 100, 7)
    counted = found["scores"][["normal", "pneumonia"]].sum().tolist()
    assert counted == [(table["label"] == label).sum() for label in (0, 1)]
    upper = found["scores"].query("probability > 0.5")["pneumonia"].sum()
    assert upper == ((table["label"] == 1) & (table["probability"] >= 0.5)).sum()
    names = ["NORMAL", "PNEUMONIA"]
    found_matrix = confusion_matrix(*found["confusion"].to_numpy().T, labels=names)
    expected = confusion_matrix(table["label"], table["probability"] >= 0.3)
    assert found_matrix.tolist() == expected.tolist()


def test_reliability_counts_the_images_of_each_tenth() -> None:
    table = predictions(patients=100).sample(100, random_state=0)
    found = reliability(table, 200, 7)
    ordered = table.sort_values("probability")
    assert found["images"].sum() == 100
    start = 0
    for row in found.itertuples():
        tenth = ordered.iloc[start : start + int(row.images)]
        start += int(row.images)
        assert 9 <= len(tenth) <= 11
        assert row.observed == pytest.approx(tenth["label"].mean())
        assert row.probability == pytest.approx(tenth["probability"].mean())
        assert 0 <= row.low < row.high <= 1


@pytest.mark.slow
def test_bands_have_the_coverage_they_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    # One point of the grid, for speed.
    monkeypatch.setattr("pneumonia.evaluation.curves.FALSE_POSITIVE_RATES", np.array([0.2]))
    monkeypatch.setattr("pneumonia.evaluation.curves.RECALLS", np.array([0.5]))
    true_rate = norm.sf(norm.isf(0.2) - 2.0 / np.sqrt(1.49))  # of normal scores
    covered = 0
    for seed in range(500):
        table = predictions(seed, patients=120)
        labels, ranking = table["label"].to_numpy(), table["logit"].to_numpy()
        drawn = bootstrap(
            lambda weights, a=labels, b=ranking: {"tpr": ranked_curves(a, b, weights)[0][:, 0]},
            labels, table["patient_id"].to_numpy(str), 200, seed,
        )  # fmt: skip
        low, high = percentile_interval(drawn["tpr"])
        covered += low <= true_rate <= high
    assert 0.93 <= covered / 500 <= 0.97
