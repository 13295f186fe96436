"""`pneumonia compare`: two revisions, paired by image if both scored the same images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pneumonia.evaluation.compare import SHOWN, Revision, changed_params, changes, same_images
from pneumonia.stats import paired as comparison
from pneumonia.stats.calibration import sigmoid
from tests.pipeline.clone import Clone

IMAGES = 120


def revision(
    name: str, skill: float, seed: int = 0, images: int = IMAGES, **params: object
) -> Revision:
    """Two images a patient; images that are hard are hard for every skill."""
    rng = np.random.default_rng(seed)
    labels = np.arange(images) // 2 % 2
    logits = skill * (2 * labels - 1) + rng.standard_normal(images)
    tables = [
        pd.DataFrame(
            {
                "image_id": [f"{seed}-{row:04}" for row in range(images)],
                "patient_id": [f"patient {row // 2}" for row in range(images)],
                "split": "test", "label": labels, "model": model, "logit": logits,
                "probability": sigmoid(logits),
            }
        )
        for model in ("scratch", "transfer")
    ]  # fmt: skip
    thresholds = {"scratch": 0.5, "transfer": 0.5}
    seeds = {"scratch": 0.01, "transfer": 0.02}
    return Revision(
        name, params, pd.concat(tables, ignore_index=True), thresholds, "scratch", seeds
    )


def test_the_same_predictions_differ_by_nothing() -> None:
    first = revision("a", 1.0)
    for change in changes(first, replace(first, name="b"), "scratch", 200):
        assert change.difference == (0, 0, 0)
        assert not change.beyond_noise
        assert change.first == change.second
        assert change.first[1] <= change.first[0] <= change.first[2]


def test_a_paired_difference_is_that_of_the_comparison_of_two_models() -> None:
    first, second = revision("a", 0.8), revision("b", 1.0)
    [change] = [one for one in changes(first, second, "scratch", 300, 5) if one.metric == "auc"]
    rows = [
        one.predictions[one.predictions["model"] == "scratch"].reset_index(drop=True)
        for one in (first, second)
    ]
    reference = comparison.compare(*rows, (0.5, 0.5), 300, 5)
    assert change.difference[1:] == pytest.approx(reference.bootstrap, abs=1e-12)
    assert change.difference[0] == pytest.approx(reference.auc.difference, abs=1e-12)


def test_pairing_detects_differences_that_other_images_cannot() -> None:
    first, second, others = revision("a", 0.8), revision("b", 1.0), revision("c", 1.0, seed=1)
    assert same_images(first, second)
    assert not same_images(first, others)
    paired, apart = changes(first, second, "scratch")[0], changes(first, others, "scratch")[0]
    assert paired.metric == apart.metric == SHOWN[0] == "auc"
    assert paired.beyond_noise
    assert not apart.beyond_noise
    assert np.ptp(paired.difference[1:]) < np.ptp(apart.difference[1:]) / 2


def test_another_label_is_not_the_same_image() -> None:
    first = revision("a", 1.0)
    table = first.predictions.assign(label=1 - first.predictions["label"])
    assert not same_images(first, replace(first, predictions=table))


def test_params_that_differ_are_named_with_both_values() -> None:
    first = revision("a", 1.0, seed=0, **{"x.y": 1, "same": 2, "gone": 3})
    second = revision("b", 1.0, seed=0, **{"x.y": [1, 2], "same": 2, "new": None})
    assert changed_params(first, second) == [("gone", 3, None), ("x.y", 1, [1, 2])]


@pytest.mark.slow
def test_an_experiment_is_compared_with_the_commit_that_it_came_from(
    reproduced: Clone, tmp_path: Path
) -> None:
    clone = reproduced.copy(tmp_path / "clone")
    assert clone.run("git", "add", "--force", "dvc.lock").returncode == 0
    author = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    assert clone.run("git", *author, "commit", "--quiet", "-m", "Lock").returncode == 0
    ran = clone.run("dvc", "exp", "run", "--name", "other", "-S", "evaluate.bootstrap=120")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert clone.run("git", "checkout", "--", ".").returncode == 0

    ran = clone.run("pneumonia", "compare", "HEAD", "other", PYTHONPATH="src")
    assert ran.returncode == 0, ran.stderr
    assert "A = HEAD, B = other" in ran.stdout
    assert "evaluate.bootstrap  100 -> 120" in ran.stdout
    assert "differences are paired" in ran.stdout
    lines = [line for line in ran.stdout.splitlines() if line.endswith("noise")]
    assert len(lines) == 2 * len(SHOWN)
    assert all("+0.000 [+0.000, +0.000]  within noise" in line for line in lines)

    unknown = clone.run("pneumonia", "compare", "nowhere", PYTHONPATH="src")
    assert unknown.returncode == 1
    [line] = unknown.stderr.splitlines()
    assert line.startswith("compare: nowhere: ")
    assert "unknown Git revision" in line
