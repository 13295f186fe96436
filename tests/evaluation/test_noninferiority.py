"""The tests of non-inferiority: their figures, their error rate, and that both must pass."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from pneumonia.core.config import PromotionParams
from pneumonia.evaluation.noninferiority import auc_difference, not_worse
from pneumonia.stats.delong import paired_auc

RULE = PromotionParams(margin=0.01, level=0.95, require_behaviour=False)


def draw(
    rng: np.random.Generator, gap: float, patients: int = 120
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Two images a patient; two models' scores (3 conditions), the first better by `gap`."""
    label = np.repeat(np.arange(patients) % 2, 2)
    patient = np.repeat(np.arange(patients), 2).astype(str)
    of_patient = np.repeat(rng.normal(size=patients), 2)
    shared = of_patient + rng.normal(size=2 * patients)
    noise = rng.normal(size=(2, 3, 2 * patients))
    scores = [
        (1.8 + extra) * label + shared + own for extra, own in zip((gap, 0), noise, strict=True)
    ]
    return label, patient, scores[0], scores[1]


def test_the_figures_are_means_over_the_conditions() -> None:
    labels, patients, candidate, champion = draw(np.random.default_rng(0), 0.5)
    difference = auc_difference(labels, patients, candidate, champion, 0.95)
    means = [
        np.mean([roc_auc_score(labels, row) for row in scores]) for scores in (candidate, champion)
    ]
    assert (difference.candidate, difference.champion) == pytest.approx(means)
    assert difference.difference == pytest.approx(means[0] - means[1])
    assert (difference.images, difference.patients, difference.conditions) == (240, 120, 3)


def test_one_condition_is_the_paired_auc_and_three_equal_ones_say_no_more() -> None:
    labels, patients, candidate, champion = draw(np.random.default_rng(0), 0.5)
    plain = paired_auc(labels, champion[0], candidate[0], patients)
    again = paired_auc(labels, champion[[0, 0, 0]], candidate[[0, 0, 0]], patients)
    assert (again.difference, again.standard_error) == pytest.approx(
        (plain.difference, plain.standard_error)
    )


def test_the_standard_error_of_the_mean_is_that_of_resampled_patients() -> None:
    rng = np.random.default_rng(0)
    labels, patients, candidate, champion = draw(rng, 0.3)
    error = paired_auc(labels, champion, candidate, patients).standard_error
    differences = []
    for _ in range(400):
        drawn = rng.integers(120, size=120)
        images = np.concatenate([2 * drawn, 2 * drawn + 1])
        means = [
            np.mean([roc_auc_score(labels[images], row[images]) for row in scores])
            for scores in (candidate, champion)
        ]
        differences.append(means[0] - means[1])
    assert error == pytest.approx(np.std(differences), rel=0.12)


def test_a_model_worse_by_the_margin_seldom_passes() -> None:
    # Where the true difference is -margin, a 95 % interval errs in 1 of 40. The margin is the
    # difference of a large draw.
    rng = np.random.default_rng(1)
    large = auc_difference(*draw(rng, -0.2, 20_000), 0.95)
    rule = RULE.model_copy(update={"margin": -large.difference})
    passed = [not_worse([auc_difference(*draw(rng, -0.2), 0.95)], rule) for _ in range(500)]
    assert np.mean(passed) == pytest.approx(0.025, abs=0.02)


def test_both_must_pass_and_the_margin_itself_is_allowed() -> None:
    labels, patients, candidate, champion = draw(np.random.default_rng(0), 0.5)
    good = replace(auc_difference(labels, patients, candidate, champion, 0.95), low=-0.01)
    bad = replace(good, low=-0.010001)
    assert not_worse([good, good], RULE)
    assert not not_worse([good, bad], RULE)
    assert not not_worse([bad, good], RULE)


def test_images_of_one_patient_show_nothing() -> None:
    labels, _, candidate, champion = draw(np.random.default_rng(0), 3.0)
    alone = auc_difference(labels, np.full(len(labels), "same"), candidate, champion, 0.95)
    assert alone.low == -1
    assert not not_worse([alone], RULE)
