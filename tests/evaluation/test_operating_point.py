"""Temperature, threshold and heat scale are what they claim, and validation alone decides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pneumonia.data.manifest import load_images, read_manifest
from pneumonia.evaluation import evaluate, robustness
from pneumonia.evaluation.operating_point import (
    OperatingPoint,
    fit_temperature,
    fix,
    sigmoid,
    youden,
)
from pneumonia.evaluation.selection import choose
from pneumonia.evaluation.shifts import SHIFTS
from pneumonia.params import EvaluateParams

PARAMS = EvaluateParams(registered_model="any", bootstrap=100, shift_films=400, seed=7)


def youdens_j(
    labels: NDArray[np.int64], probability: NDArray[np.float64], threshold: float
) -> float:
    called = probability >= threshold
    return float(called[labels == 1].mean() - called[labels == 0].mean())


@pytest.mark.parametrize("temperature", [0.2, 1.0, 3.0, 10.0])
def test_the_true_temperature_is_recovered(temperature: float) -> None:
    rng = np.random.default_rng(5)
    honest = rng.normal(0.5, 2.0, 20_000)
    labels = (rng.random(20_000) < 1 / (1 + np.exp(-honest))).astype(np.int64)
    logits = (temperature * honest).astype(np.float32)
    assert fit_temperature(labels, logits) == pytest.approx(temperature, rel=0.05)


def test_the_temperature_stays_within_its_bounds() -> None:
    labels, logits = np.array([0, 0, 1, 1]), np.array([-5, -4, 4, 5], np.float32)
    assert fit_temperature(labels, -logits) == pytest.approx(20, rel=0.01)
    assert fit_temperature(labels, 0.001 * logits) == pytest.approx(0.05, rel=0.01)


def test_a_split_told_apart_without_error_gives_no_certainty() -> None:
    labels = np.repeat([0, 1], 20)
    logits = np.where(labels == 1, 3, -3).astype(np.float32)
    probability = sigmoid(logits.astype(np.float64) / fit_temperature(labels, logits))
    # Platt's targets: 21 / 22 and 1 / 22.
    assert probability[[0, -1]] == pytest.approx([1 / 22, 21 / 22], rel=1e-3)


def test_the_temperature_divides_the_logit() -> None:
    point = OperatingPoint(temperature=2.0, threshold=0.5, map_scale=1.0)
    found = point.probability(np.array([-2, 0, 2], np.float32))
    assert found.dtype == np.float64
    assert found == pytest.approx([0.2689414, 0.5, 0.7310586], abs=1e-7)


@given(st.lists(st.floats(-700, 700), min_size=1, max_size=20))
def test_the_sigmoid_is_the_logistic_function(values: list[float]) -> None:
    found = sigmoid(np.array(values))
    assert found == pytest.approx([1 / (1 + np.exp(-value)) for value in values], rel=1e-9)


def test_the_sigmoid_does_not_overflow() -> None:
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        assert sigmoid(np.array([-1e30, -1e4, 0.0, 1e4, 1e30])).tolist() == [0, 0, 0.5, 1, 1]


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(1, 30)), min_size=2, max_size=40))
def test_no_midpoint_has_a_higher_j(films: list[tuple[int, int]]) -> None:
    labels = np.array([label for label, _ in films])
    probability = np.array([place for _, place in films]) / 31
    assume(0 < labels.sum() < len(labels))
    threshold = youden(labels, probability)
    levels = np.unique(probability)
    if len(levels) == 1:
        assert threshold == 0.5
        return
    midpoints = (levels[1:] + levels[:-1]) / 2
    best = max(youdens_j(labels, probability, midpoint) for midpoint in midpoints)
    assert youdens_j(labels, probability, threshold) == pytest.approx(best, abs=1e-9)
    assert not np.isclose(levels, threshold, atol=1e-9, rtol=0).any()


@pytest.mark.parametrize(("low", "high"), [(-2.0, 1.0), (-8.0, -3.0), (4.0, 4.5)])
def test_separable_films_get_the_middle_of_the_gap_on_the_logits_scale(
    low: float, high: float
) -> None:
    logits = np.array([low - 1, low, high, high + 6])
    threshold = youden(np.array([0, 0, 1, 1]), sigmoid(logits))
    assert np.log(threshold / (1 - threshold)) == pytest.approx((low + high) / 2, abs=1e-6)


def test_of_equally_good_thresholds_the_one_in_the_widest_gap_is_taken() -> None:
    # At both bars of 0 | 1 0 | 1 J is 0.5; on the logit's scale the first gap is the wider one.
    logits = np.array([-10.0, -6.0, -1.0, 1.0])
    threshold = youden(np.array([0, 1, 0, 1]), sigmoid(logits))
    assert np.log(threshold / (1 - threshold)) == pytest.approx(-8, abs=1e-6)


def test_one_probability_for_all_films_gives_a_half() -> None:
    assert youden(np.array([0, 1, 1]), np.full(3, 0.83)) == 0.5


def test_certain_films_give_a_threshold_between_them() -> None:
    threshold = youden(np.array([0, 0, 1, 1]), np.array([0.0, 0.0, 1.0, 1.0]))
    assert threshold == pytest.approx(0.5, abs=1e-4)


def test_the_heat_scale_is_the_median_peak_of_the_pneumonia_films() -> None:
    labels = np.array([0, 1, 1, 1])
    maps = np.zeros((4, 2, 3), np.float32)
    maps[:, 1, 2] = [100, 1, 2, 9]
    logits = np.array([-1, 1, 2, 0.5], np.float32)
    point = fix(labels, logits, maps)
    assert point.map_scale == 2.0
    assert point.temperature == fit_temperature(labels, logits)
    called = point.probability(logits) >= point.threshold
    assert called.tolist() == [False, True, True, True]
    assert fix(labels, logits, 0 * maps).map_scale == 1.0


def test_the_higher_auc_under_shift_wins_then_the_lower_brier_score() -> None:
    better = {"shifted_auc": 0.95, "auc": 0.98, "brier": 0.2, "accuracy": 0.1}
    worse = {"shifted_auc": 0.94, "auc": 0.99, "brier": 0.1, "accuracy": 0.9}
    assert choose({"scratch": better, "transfer": worse}) == "scratch"
    assert choose({"scratch": worse, "transfer": better}) == "transfer"
    calibrated = {**better, "brier": 0.1}
    assert choose({"scratch": better, "transfer": calibrated}) == "transfer"
    assert choose({"scratch": calibrated, "transfer": better}) == "scratch"
    assert choose({"b": better, "a": better}) == choose({"a": better, "b": better})


def evaluation() -> evaluate.Evaluation:
    return evaluate.Evaluation(
        predictions=pd.DataFrame(),
        point=OperatingPoint(1, 0.5, 1),
        metrics={"val": {"brier": 0.1}, "test": {"brier": 0.1}},
        intervals={},
        graph_sha256="",
    )


def shifts_table(aucs: dict[tuple[str, str], float]) -> pd.DataFrame:
    """What `robustness.measure` gives, one AUC a model and split under every shift."""
    conditions = [("none", "none")]
    conditions += [(shift, strength) for shift, spec in SHIFTS.items() for strength in spec.amounts]
    return pd.DataFrame(
        {
            "model": model, "split": split, "shift": shift, "strength": strength, "films": 9,
            "auc": auc if shift not in ("none", "inversion") else 1 - auc,
            "sensitivity": 1 - auc, "specificity": 1 - auc,
        }
        for (model, split), auc in aucs.items()
        for shift, strength in conditions
    )  # fmt: skip


def test_validation_under_shift_chooses_the_champion_and_nothing_else_has_a_say() -> None:
    found = {"scratch": evaluation(), "transfer": evaluation()}
    aucs = {
        ("scratch", "val"): 0.9, ("transfer", "val"): 0.91,
        ("scratch", "test"): 0.99, ("transfer", "test"): 0.5,
    }  # fmt: skip
    assert evaluate.champion(found, shifts_table(aucs)) == "transfer"
    # Test figures are not even looked at: without them the answer is the same.
    for one in found.values():
        del one.metrics["test"]
    validation = {key: auc for key, auc in aucs.items() if key[1] == "val"}
    assert evaluate.champion(found, shifts_table(validation)) == "transfer"


class FakeGraph:
    """Answers with the films' mean grey."""

    sha256 = "graph"

    def run(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        logits = ((images.mean(axis=(1, 2, 3)) - 90) / 10).astype(np.float32)
        return logits, np.maximum(logits, 0)[:, None, None] * np.ones((1, 2, 2), np.float32)


GRAPH: Any = FakeGraph()


def scored_films(folder: Path) -> tuple[pd.DataFrame, NDArray[np.uint8]]:
    table = read_manifest(folder)
    rows = table[table["split"] != "train"]
    return rows, load_images(folder, rows)


def test_a_model_is_scored_on_validation_and_test_and_fixed_on_validation_alone(
    prepared: Path,
) -> None:
    table, images = scored_films(prepared)
    found = evaluate.evaluate_model("scratch", GRAPH, table, images, PARAMS)
    rows = found.predictions
    assert set(rows["split"]) == {"val", "test"}
    assert len(rows) == len(table)
    assert rows.columns.tolist() == [
        *("image_id", "patient_id", "split", "label", "model", "logit", "probability")
    ]
    for split in ("val", "test"):
        part = rows[rows["split"] == split]
        called = part["probability"] >= found.point.threshold
        assert found.metrics[split]["accuracy"] == pytest.approx(np.mean(called == part["label"]))
    flipped = table.assign(label=table["label"].where(table["split"] != "test", 1 - table["label"]))
    other = evaluate.evaluate_model("scratch", GRAPH, flipped, images, PARAMS)
    assert other.point == found.point
    assert other.metrics["val"] == found.metrics["val"]
    assert other.intervals["val"] == found.intervals["val"]
    assert other.metrics["test"] != found.metrics["test"]


def test_metrics_json_has_each_figure_with_its_interval(
    prepared: Path,
) -> None:
    table, images = scored_films(prepared)
    found = evaluate.evaluate_model("scratch", GRAPH, table, images, PARAMS)
    shifts = shifts_table({("scratch", split): 0.9 for split in ("val", "test")})
    written = evaluate.as_metrics({"scratch": found}, shifts)["scratch"]
    for split in ("val", "test"):
        for metric, value in found.metrics[split].items():
            pair = written[split][f"{metric}_low"], written[split][f"{metric}_high"]
            assert written[split][metric] == value
            assert pair == found.intervals[split][metric]
        assert written[split]["robustness"] == robustness.summary(shifts, "scratch", split)
