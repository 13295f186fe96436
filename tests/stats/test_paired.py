"""Two models on the same images: published McNemar tests, and sentences that match the numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, chi2
from sklearn.metrics import roc_auc_score

from pneumonia.stats.delong import PairedAuc, paired_auc
from pneumonia.stats.paired import (
    Comparison,
    Decisions,
    compare,
    compare_decisions,
    contenders,
    exact_mcnemar,
    in_words,
)


def each_its_own(images: int) -> list[str]:
    return [f"p{number:04d}" for number in range(images)]


def decided(both: int, first: int, second: int, neither: int) -> list[np.ndarray]:
    """Which images each model decides correctly."""
    counts = [both, first, second, neither]
    return [
        np.repeat(column, counts)
        for column in ([True, True, False, False], [True, False, True, False])
    ]


def test_agrestis_approval_ratings_have_the_published_statistic() -> None:
    # Agresti, Categorical Data Analysis, 10.1: 794, 150, 86, 570; McNemar's chi square is 17.36.
    found = compare_decisions(*decided(794, 150, 86, 570), np.array(each_its_own(1600)))
    assert (found.both, found.first_only, found.second_only, found.neither) == (794, 150, 86, 570)
    assert chi2.isf(found.clustered_p, 1) == pytest.approx(17.36, abs=5e-3)
    # statsmodels 0.15, mcnemar(exact=True) and (exact=False, correction=False).
    assert found.mcnemar_p == pytest.approx(3.7159361395713866e-05, rel=1e-9)
    assert found.clustered_p == pytest.approx(3.099293441045215e-05, rel=1e-9)


@pytest.mark.parametrize(
    ("first", "second", "exact", "plain"),
    # statsmodels 0.15, as above.
    [
        (5, 12, 0.143463134765625, 0.08955507441364248),
        (0, 3, 0.25, 0.08326451666355042),
        (1, 9, 0.021484375, 0.01141203638600166),
    ],
)
def test_mcnemar_is_statsmodels(first: int, second: int, exact: float, plain: float) -> None:
    patients = np.array(each_its_own(30))
    found = compare_decisions(*decided(3, first, second, 27 - first - second), patients)
    assert found.mcnemar_p == pytest.approx(exact, rel=1e-9)
    assert found.clustered_p == pytest.approx(plain, rel=1e-9)


@given(st.integers(0, 60), st.integers(0, 60))
def test_the_exact_test_is_scipys_binomial(first: int, second: int) -> None:
    expected = binomtest(first, first + second).pvalue if first + second else 1.0
    assert exact_mcnemar(first, second) == pytest.approx(expected, rel=1e-9)


def test_several_images_a_patient_give_the_statistic_of_durkalski() -> None:
    # Three patients, of 3, 2 and 1 images; b - c is 2, -1 and 1.
    first = np.array([1, 1, 1, 0, 1, 1], bool)
    second = np.array([0, 0, 1, 1, 1, 0], bool)
    found = compare_decisions(first, second, np.array(list("aaabbc")))
    shares = np.array([2 / 3, -1 / 2, 1])
    statistic = shares.sum() ** 2 / (shares**2).sum()
    assert found.clustered_p == pytest.approx(chi2.sf(statistic, 1))


def test_repeating_images_changes_only_the_unclustered_test() -> None:
    right = decided(20, 2, 9, 9)
    patients = np.array(each_its_own(40))
    once = compare_decisions(*right, patients)
    four = compare_decisions(*(np.tile(one, 4) for one in right), np.tile(patients, 4))
    assert four.clustered_p == pytest.approx(once.clustered_p)
    assert four.mcnemar_p < 0.01
    assert once.mcnemar_p > 0.05


def test_the_clustered_test_has_its_nominal_error_rate() -> None:
    rejected = draws = 0
    for seed in range(500):
        rng = np.random.default_rng(seed)
        who = np.repeat(np.arange(80), rng.integers(1, 6, 80))
        # Which model is right depends on the patient.
        lean = rng.random(80)[who]
        first, second = rng.random(len(who)) < lean, rng.random(len(who)) < 1 - lean
        rejected += compare_decisions(first, second, who.astype(str)).clustered_p < 0.05
        draws += 1
    assert 0.03 <= rejected / draws <= 0.07


def predictions(model: str, seed: int, gap: float = 1.5, images: int = 80) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    labels = np.arange(images) // 2 % 2
    logits = rng.normal(gap * labels, 1)
    return pd.DataFrame(
        {
            "image_id": each_its_own(images), "label": labels, "model": model, "logit": logits,
            "patient_id": [f"p{number // 2}" for number in range(images)],
            "probability": 1 / (1 + np.exp(-logits)),
        }
    )  # fmt: skip


def test_a_comparison_joins_delong_bootstrap_and_decisions() -> None:
    first, second = predictions("scratch", 1), predictions("transfer", 2)
    found = compare(first, second, (0.6, 0.5), 400, 7)
    labels, patients = first["label"].to_numpy(), first["patient_id"].to_numpy(str)
    expected = paired_auc(labels, first["logit"].to_numpy(), second["logit"].to_numpy(), patients)
    assert found.auc == expected
    assert (found.names, found.images, found.patients) == (("scratch", "transfer"), 80, 40)
    # Two ways to the same interval.
    assert found.bootstrap == pytest.approx(expected.interval(0.95), abs=0.02)
    right = [
        (rows["probability"] >= threshold) == (labels == 1)
        for rows, threshold in ((first, 0.6), (second, 0.5))
    ]
    assert found.decisions.first_only == (right[0] & ~right[1]).sum()
    assert found.decisions.second_only == (right[1] & ~right[0]).sum()
    written = found.as_dict()
    assert written["auc"]["second"] == pytest.approx(roc_auc_score(labels, second["logit"]))
    assert written["auc"]["bootstrap_low"] == found.bootstrap[0]
    assert written["in_words"] == in_words(found)


def test_an_infinite_standard_error_is_written_as_null() -> None:
    first, second = (predictions("a", 1, images=6), predictions("b", 2, images=6))
    for rows in (first, second):
        rows["patient_id"] = np.where(rows["label"] == 1, "one", rows["patient_id"])
    written = compare(first, second, (0.5, 0.5), 100, 7).as_dict()["auc"]
    assert (written["standard_error"], written["low"], written["p"]) == (None, -1, 1)


def test_other_images_are_refused() -> None:
    with pytest.raises(ValueError, match="different images"):
        compare(predictions("a", 1), predictions("b", 2)[::-1], (0.5, 0.5), 100, 7)


COMPARED = Comparison(
    ("scratch", "transfer"), 131, 70, PairedAuc(0.95, 0.97, 0.02, 0.005), (0.01, 0.03),
    Decisions(3, 11, 100, 17, 0.057, 0.03),
)  # fmt: skip


def test_the_text_names_the_better_model() -> None:
    assert in_words(COMPARED) == (
        "On 131 images of 70 patients, transfer ranks better than scratch: the AUC of transfer "
        "differs by +0.020 (0.970 against 0.950; 95 % interval +0.010 to +0.030, p < 0.001). "
        "At their operating points transfer alone is right on 11 and scratch alone on 3 images (a "
        "difference beyond chance, p = 0.030 by patient)."
    )
    worse = replace(COMPARED, auc=PairedAuc(0.97, 0.95, -0.02, 0.005))
    assert "scratch ranks better than transfer: the AUC of transfer differs by -0.020" in in_words(
        worse
    )


def test_the_text_claims_no_difference_that_is_not_shown() -> None:
    found = replace(
        COMPARED,
        auc=PairedAuc(0.95, 0.97, 0.02, 0.02),
        decisions=Decisions(3, 6, 100, 17, 0.5, 0.4),
    )
    text = in_words(found)
    assert "cannot be distinguished by AUC: the difference is +0.020" in text
    assert "(no difference beyond chance, p = 0.400 by patient)" in text
    assert "better" not in text
    same = replace(COMPARED, decisions=Decisions(0, 0, 100, 31, 1, 1))
    assert in_words(same).endswith("they are right on the same images.")


def test_models_and_probes_stand_in_one_table() -> None:
    probes = {"border": {"auc": 0.96, "low": 0.9, "high": 0.99}}
    intervals = {"scratch": (0.9, 0.98), "transfer": (0.94, 0.99)}
    table = contenders(COMPARED, intervals, probes)
    assert table.to_numpy().tolist() == [
        ["transfer", "model", 0.97, 0.94, 0.99],
        ["border", "probe", 0.96, 0.9, 0.99],
        ["scratch", "model", 0.95, 0.9, 0.98],
    ]
