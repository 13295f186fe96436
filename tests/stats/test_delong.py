"""Standard errors of the AUC match DeLong and Obuchowski, and intervals have their coverage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from pneumonia.stats.delong import auc_interval, paired_auc, standard_error, structural_components

# Hanley & McNeil 1982, table I: 109 CT scans by rating, normal and abnormal.
NORMAL, ABNORMAL = [33, 6, 6, 11, 2], [3, 2, 2, 11, 33]

# DeLong 1988's 43 patients with all tests, as SAS prints them (SAS/STAT, PROC LOGISTIC, "Comparing
# Receiver Operating Characteristic Curves"): albumin, total protein, 10 - K-G score, outcome.
OVARIAN = """
3.0 5.8 10 0  3.2 6.3 5 1  3.9 6.8 3 1  2.8 4.8 6 0  3.2 5.8 3 1  0.9 4.0 5 0  2.5 5.7 8 0
1.6 5.6 5 1  3.8 5.7 5 1  3.7 6.7 6 1  3.2 5.4 4 1  3.8 6.6 6 1  4.1 6.6 5 1  3.6 5.7 5 1
4.3 7.0 4 1  3.6 6.7 4 0  2.3 4.4 6 1  4.2 7.6 4 0  4.0 6.6 6 0  3.5 5.8 6 1  3.8 6.8 7 1
3.0 4.7 8 0  4.5 7.4 5 1  3.7 7.4 5 1  3.1 6.6 6 1  4.1 8.2 6 1  4.3 7.0 5 1  4.3 6.5 4 1
3.2 5.1 5 1  2.6 4.7 6 1  3.3 6.8 6 0  1.7 4.0 7 0  3.7 6.1 5 1  3.3 6.3 7 1  4.2 7.7 6 1
3.5 6.2 5 1  2.9 5.7 9 0  2.1 4.8 7 1  2.8 6.2 8 0  4.0 7.0 7 1  3.3 5.7 6 1  3.7 6.9 5 1
3.6 6.6 5 1
"""


def each_its_own(images: int) -> NDArray[np.str_]:
    return np.array([f"p{number:04d}" for number in range(images)])


def auc_error(
    labels: NDArray[np.int64], scores: NDArray[np.float64], patients: NDArray[np.str_]
) -> float:
    return standard_error(labels, structural_components(labels, scores), patients)


def hanley() -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    ratings = np.concatenate([np.repeat(np.arange(5), NORMAL), np.repeat(np.arange(5), ABNORMAL)])
    labels = np.repeat([0, 1], [sum(NORMAL), sum(ABNORMAL)])
    return labels, ratings.astype(np.float64)


def clustered(
    seed: int, patients: int = 90, gap: float = 1.9
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], NDArray[np.str_]]:
    """Two scores of one to four images a patient, correlated within a patient, of either class.

    Both scores are normal with variance 2 and means `gap` apart: the AUC of either is
    Phi(gap / 2).
    """
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(patients), rng.integers(1, 5, patients))
    labels = np.where(rng.random(len(who)) < 0.15, 1 - who % 2, who % 2).astype(np.int64)
    person = rng.standard_normal(patients)[who]
    own = rng.standard_normal((2, len(who)))
    shared = gap * labels + person
    return labels, shared + own[0], shared + 0.6 * own[0] + 0.8 * own[1], who.astype(str)


def obuchowski(
    labels: NDArray[np.int64], scores: NDArray[np.float64], patients: NDArray[np.str_]
) -> float:
    """The variance as the paper writes it, by loops."""
    ill, well = scores[labels == 1], scores[labels == 0]
    auc = roc_auc_score(labels, scores)

    def psi(x: float, y: float) -> float:
        return float(x > y) + 0.5 * float(x == y)

    tens, ones, everyone = [], [], np.unique(patients)
    for name in everyone:
        mine = patients == name
        xs, ys = scores[mine & (labels == 1)], scores[mine & (labels == 0)]
        tens.append(sum(np.mean([psi(x, y) for y in well]) - auc for x in xs))
        ones.append(sum(np.mean([psi(x, y) for x in ill]) - auc for y in ys))
    m, n, total = len(ill), len(well), len(everyone)
    has_ill = len(np.unique(patients[labels == 1]))
    has_well = len(np.unique(patients[labels == 0]))
    s10 = has_ill / ((has_ill - 1) * m) * sum(v**2 for v in tens)
    s01 = has_well / ((has_well - 1) * n) * sum(v**2 for v in ones)
    s11 = total / (total - 1) * sum(a * b for a, b in zip(tens, ones, strict=True))
    return float(s10 / m + s01 / n + 2 * s11 / (m * n))


def test_hanley_and_mcneils_scans_have_the_published_standard_error() -> None:
    labels, ratings = hanley()
    patients = each_its_own(len(labels))
    # Stata's manual, roctab on these data: area .8932, DeLong's standard error .0307.
    assert roc_auc_score(labels, ratings) == pytest.approx(0.8932, abs=5e-5)
    assert auc_error(labels, ratings, patients) == pytest.approx(0.0307, abs=5e-5)


def test_delongs_own_patients_have_the_published_comparison() -> None:
    albumin, protein, score, outcome = np.array(OVARIAN.split(), float).reshape(-1, 4).T
    labels, patients = outcome.astype(np.int64), each_its_own(43)
    # SAS/STAT's output: difference to the K-G score, standard error, Wald limits, p value.
    found = paired_auc(labels, -score, protein, patients)
    shown = (found.difference, found.standard_error, *found.interval(0.95), found.p_value)
    assert shown == pytest.approx((-0.0780, 0.1046, -0.2830, 0.1271, 0.4561), abs=6e-5)
    found = paired_auc(labels, -score, albumin, patients)
    shown = (abs(found.difference), found.standard_error, found.p_value)
    assert shown == pytest.approx((0.0108, 0.0953, 0.9102), abs=6e-5)


@pytest.mark.parametrize("seed", range(4))
def test_the_standard_error_is_obuchowskis(seed: int) -> None:
    labels, first, second, patients = clustered(seed, patients=20)
    first = first.round(0)  # with ties
    found = paired_auc(labels, first, second, patients)
    assert auc_error(labels, first, patients) ** 2 == pytest.approx(
        obuchowski(labels, first, patients), rel=1e-9
    )
    assert found.first == pytest.approx(roc_auc_score(labels, first), abs=1e-12)
    assert found.second == pytest.approx(roc_auc_score(labels, second), abs=1e-12)
    assert found.difference == found.second - found.first


@pytest.mark.parametrize("seed", range(3))
def test_with_one_image_a_patient_the_paired_error_is_delongs(seed: int) -> None:
    labels, first, second, _ = clustered(seed)
    ill, well = labels == 1, labels == 0
    tens, ones = [], []
    for scores in (first, second):
        psi = (scores[ill][:, None] > scores[well]) + 0.5 * (scores[ill][:, None] == scores[well])
        tens.append(psi.mean(axis=1))
        ones.append(psi.mean(axis=0))
    # DeLong 1988, eq. 5 and 6: covariance matrices of the structural components.
    covariance = np.cov(tens) / ill.sum() + np.cov(ones) / well.sum()
    contrast = np.array([-1, 1])
    found = paired_auc(labels, first, second, each_its_own(len(labels)))
    assert found.standard_error**2 == pytest.approx(contrast @ covariance @ contrast, rel=1e-9)
    assert auc_error(labels, first, each_its_own(len(labels))) ** 2 == pytest.approx(
        covariance[0, 0], rel=1e-9
    )


@given(st.integers(0, 10_000))
def test_swapping_the_scores_swaps_the_sign_and_nothing_else(seed: int) -> None:
    labels, first, second, patients = clustered(seed, patients=12)
    if len(set(labels)) < 2:
        return
    one, other = (
        paired_auc(labels, first, second, patients),
        paired_auc(labels, second, first, patients),
    )
    assert one.difference == -other.difference
    assert one.standard_error == pytest.approx(other.standard_error, abs=1e-12)
    assert one.p_value == pytest.approx(other.p_value, abs=1e-12)
    assert 0 <= one.p_value <= 1


def test_only_the_order_of_a_score_counts() -> None:
    labels, first, second, patients = clustered(1)
    found = paired_auc(labels, first, second, patients)
    assert paired_auc(labels, np.exp(first), 3 * second - 1, patients) == found
    order = np.random.default_rng(0).permutation(len(labels))
    shuffled = paired_auc(labels[order], first[order], second[order], patients[order])
    assert shuffled.standard_error == pytest.approx(found.standard_error, rel=1e-9)


def test_the_interval_and_the_p_value_are_the_normals() -> None:
    labels, first, second, patients = clustered(2)
    found = paired_auc(labels, first, second + 0.8 * labels, patients)
    low, high = found.interval(0.95)
    assert low == pytest.approx(found.difference - 1.959964 * found.standard_error, abs=1e-6)
    assert high == pytest.approx(found.difference + 1.959964 * found.standard_error, abs=1e-6)
    low, high = found.interval(1 - found.p_value)
    assert min(abs(low), abs(high)) == pytest.approx(0, abs=1e-9)


def test_identical_scores_do_not_differ() -> None:
    labels, first, _, patients = clustered(3)
    found = paired_auc(labels, first, 2 * first, patients)
    assert (found.difference, found.standard_error, found.p_value) == (0.0, 0.0, 1.0)
    assert found.interval(0.95) == (0.0, 0.0)


def test_one_patient_with_all_images_of_a_class_gives_no_interval() -> None:
    labels, scores = np.array([1, 1, 0, 0, 0]), np.array([0.3, 0.9, 0.1, 0.4, 0.2])
    patients = np.array(["a", "a", "b", "c", "d"])
    found = paired_auc(labels, scores, -scores, patients)
    assert found.standard_error == np.inf
    assert found.interval(0.95) == (-1.0, 1.0)
    assert found.p_value == 1.0
    assert auc_interval(labels, scores, patients) == (0.0, 1.0)


@pytest.mark.parametrize("labels", [[0, 0, 0], [1, 1, 1]])
def test_a_class_without_images_is_an_error(labels: list[int]) -> None:
    with pytest.raises(ValueError, match="both classes"):
        auc_error(np.array(labels), np.arange(3.0), each_its_own(3))


def test_a_score_that_is_no_number_is_an_error() -> None:
    with pytest.raises(ValueError, match="not a number"):
        auc_error(np.array([0, 1]), np.array([0.0, np.nan]), each_its_own(2))


def test_an_auc_of_one_still_has_an_interval() -> None:
    labels = np.repeat([0, 1], 20)
    low, high = auc_interval(labels, labels.astype(float), each_its_own(40))
    assert high == 1
    # Newcombe's method 5 by its definition: at the bound, 1 is 1.96 standard errors away.
    n = 20 - 1
    spread = low * (1 - low) * (1 + n * ((1 - low) / (2 - low) + low / (1 + low))) / 400
    assert (1 - low) / np.sqrt(spread) == pytest.approx(1.959964, abs=1e-5)
    assert auc_interval(labels, -labels.astype(float), each_its_own(40)) == (0.0, 1 - low)
    # Images of the same patients add nothing.
    again = auc_interval(np.tile(labels, 3), np.tile(labels, 3) * 1.0, np.tile(each_its_own(40), 3))
    assert again == (low, high)
    assert auc_interval(labels[15:25], labels[15:25] * 1.0, each_its_own(10))[0] < low


def test_images_of_one_patient_do_not_narrow_the_interval() -> None:
    labels, first, _, _ = clustered(4)
    alone = auc_error(labels, first, each_its_own(len(labels)))
    thrice = auc_error(np.tile(labels, 3), np.tile(first, 3), np.tile(each_its_own(len(labels)), 3))
    assert thrice == pytest.approx(alone, rel=1e-9)


def test_intervals_have_their_nominal_coverage() -> None:
    from scipy.stats import norm

    truth, draws, covered, paired = norm.cdf(1.9 / 2), 500, 0, 0
    for seed in range(draws):
        labels, first, second, patients = clustered(10_000 + seed)
        low, high = auc_interval(labels, first, patients)
        covered += low <= truth <= high
        low, high = paired_auc(labels, first, second, patients).interval(0.95)
        paired += low <= 0 <= high
    assert 0.93 <= covered / draws <= 0.97
    assert 0.93 <= paired / draws <= 0.97
