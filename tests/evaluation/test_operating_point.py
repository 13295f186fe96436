"""The operating point and the choice are what they claim, and validation alone decides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pneumonia.core.config import EvaluateParams, PromotionParams
from pneumonia.core.errors import InputError
from pneumonia.datasets.manifest import load_images, read_manifest
from pneumonia.evaluation import evaluate, robustness
from pneumonia.evaluation.evaluate import choose_model, read_audit, write_files
from pneumonia.evaluation.shifts import SHIFTS
from pneumonia.evaluation.subgroups import attributes
from pneumonia.evaluation.threshold import Pool, fix_operating_point
from pneumonia.inference.operating_point import OperatingPoint
from pneumonia.stats import calibration
from pneumonia.stats.calibration import sigmoid

PARAMS = EvaluateParams(
    registered_model="any", threshold="youden", calibration="platt",
    bootstrap=100, shift_images=400, seed=7,
    promotion=PromotionParams(margin=0.01, level=0.95, require_behaviour=False),
)  # fmt: skip


@given(st.lists(st.floats(-700, 700), min_size=1, max_size=20))
def test_the_sigmoid_is_the_logistic_function(values: list[float]) -> None:
    found = sigmoid(np.array(values))
    assert found == pytest.approx([1 / (1 + np.exp(-value)) for value in values], rel=1e-9)


def test_the_sigmoid_does_not_overflow() -> None:
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        assert sigmoid(np.array([-1e30, -1e4, 0.0, 1e4, 1e30])).tolist() == [0, 0, 0.5, 1, 1]


def test_the_point_joins_calibration_threshold_and_heat_scale() -> None:
    labels = np.array([0, 1, 1, 1])
    maps = np.zeros((4, 2, 3), np.float32)
    maps[:, 1, 2] = [100, 1, 2, 9]
    logits = np.array([-1, 1, 2, 0.5], np.float32)
    # The clean images would be cut at -0.25; the pool has its gap elsewhere.
    pool = Pool(np.array([0, 1]), np.array([0.6, 1.0]), np.ones(2))
    point = fix_operating_point(labels, logits, maps, pool, "youden", "platt")
    assert point.map_scale == 2.0
    assert (point.slope, point.intercept) == calibration.fit("platt", labels, logits)
    assert point.probability(np.array([0.8])) == pytest.approx([point.threshold], abs=1e-12)
    called = point.probability(logits) >= point.threshold
    assert called.tolist() == [False, True, True, False]
    assert fix_operating_point(labels, logits, 0 * maps, pool, "youden", "none").map_scale == 1.0


def test_a_threshold_at_either_end_calls_all_images_or_none() -> None:
    labels, logits = np.array([0, 1, 0, 1]), np.array([2.0, 1.0, -3.0, -4.0])
    pool = Pool(labels, logits, np.ones(4))
    for rule, threshold in (("sensitivity>=1", 0.0), ("cost 1:99", 1.0)):
        point = fix_operating_point(
            labels, logits, np.ones((4, 1, 1), np.float32), pool, rule, "none"
        )
        assert point.threshold == threshold


def test_the_higher_auc_under_shift_wins_then_the_lower_brier_score() -> None:
    better = {"shifted_auc": 0.95, "auc": 0.98, "brier": 0.2, "accuracy": 0.1}
    worse = {"shifted_auc": 0.94, "auc": 0.99, "brier": 0.1, "accuracy": 0.9}
    assert choose_model({"scratch": better, "transfer": worse}) == "scratch"
    assert choose_model({"scratch": worse, "transfer": better}) == "transfer"
    calibrated = {**better, "brier": 0.1}
    assert choose_model({"scratch": better, "transfer": calibrated}) == "transfer"
    assert choose_model({"scratch": calibrated, "transfer": better}) == "scratch"
    assert choose_model({"b": better, "a": better}) == choose_model({"a": better, "b": better})


def evaluation() -> evaluate.Evaluation:
    return evaluate.Evaluation(
        predictions=pd.DataFrame(),
        point=OperatingPoint(1, 0, 0.5, 1),
        metrics={"val": {"brier": 0.1}, "test": {"brier": 0.1}},
        intervals={},
        uncalibrated={},
        subgroups=pd.DataFrame(),
        errors=pd.DataFrame(),
        confident_errors=pd.DataFrame(),
        curves={},
        graph_sha256="",
    )


def shifts_table(aucs: dict[tuple[str, str], float]) -> pd.DataFrame:
    """What `robustness.measure` gives, one AUC a model and split under every shift."""
    conditions = [("none", "none")]
    conditions += [(shift, strength) for shift, spec in SHIFTS.items() for strength in spec.amounts]
    return pd.DataFrame(
        {
            "model": model, "split": split, "shift": shift, "strength": strength, "images": 9,
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
    assert evaluate.better(found, shifts_table(aucs)) == "transfer"
    # Test figures are not even looked at: without them the answer is the same.
    for one in found.values():
        del one.metrics["test"]
    validation = {key: auc for key, auc in aucs.items() if key[1] == "val"}
    assert evaluate.better(found, shifts_table(validation)) == "transfer"


class FakeGraph:
    """Answers with a band's mean grey."""

    def __init__(self, middle: float) -> None:
        self.middle = middle
        self.sha256 = f"graph {middle}"

    def run(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        grey = images[:, 8:40].mean(axis=(1, 2, 3)) + images[:, :, 10:50].std(axis=(1, 2, 3))
        logits = ((grey - self.middle) / 10).astype(np.float32)
        return logits, np.maximum(logits, 0)[:, None, None] * np.ones((1, 2, 2), np.float32)


GRAPHS: dict[str, Any] = {"scratch": FakeGraph(120), "transfer": FakeGraph(150)}


@pytest.fixture(scope="module")
def images(prepared: Path) -> tuple[pd.DataFrame, NDArray[np.uint8]]:
    table = read_manifest(prepared)
    return table, load_images(prepared, table[table["split"] != "train"])


def evaluated(
    xrays: tuple[pd.DataFrame, NDArray[np.uint8]], permute: str | None = None, **changed: Any
) -> tuple[dict[str, evaluate.Evaluation], pd.DataFrame]:
    """Both graphs as `stages/evaluate.py` does; the labels of a split permuted."""
    table, images = xrays
    labels = table["label"].to_numpy(copy=True)
    part = (table["split"] == permute).to_numpy()
    labels[part] = np.random.default_rng(3).permutation(labels[part])
    table = table.assign(label=labels)
    params = PARAMS.model_copy(update=changed)
    rows = table[table["split"].isin(evaluate.SPLITS)]
    kinds = attributes(rows, table[table["split"] == "train"], set())
    outputs = {name: graph.run(images) for name, graph in GRAPHS.items()}
    logits = {name: outputs[name][0] for name in GRAPHS}
    seen = robustness.shifted_logits(GRAPHS, logits, rows, images, params.shift_images, params.seed)
    found = {
        name: evaluate.evaluate_model(
            name, outputs[name], graph.sha256, rows, kinds, robustness.pool(seen, name), params
        )
        for name, graph in GRAPHS.items()
    }
    return found, robustness.measure(seen, {name: found[name].point for name in found})


def test_permuted_test_labels_change_no_point_no_calibration_and_no_choice(
    images: tuple[pd.DataFrame, NDArray[np.uint8]],
) -> None:
    for calibrated, rule in (
        ("platt", "youden"),
        ("temperature", "sensitivity>=0.9"),
        ("none", "cost 3:1"),
    ):
        changed = {"calibration": calibrated, "threshold": rule}
        found, shifts = evaluated(images, **changed)
        other, others = evaluated(images, "test", **changed)
        for name, one in found.items():
            assert other[name].point == one.point
            assert other[name].metrics["val"] == one.metrics["val"]
            assert other[name].intervals["val"] == one.intervals["val"]
            assert other[name].metrics["test"] != one.metrics["test"]
        assert evaluate.better(other, others) == evaluate.better(found, shifts)
    # Those of validation do.
    fooled, _ = evaluated(images, "val", **changed)
    assert fooled["scratch"].point != found["scratch"].point


def test_a_model_is_scored_on_validation_and_test(
    images: tuple[pd.DataFrame, NDArray[np.uint8]],
) -> None:
    found, _ = evaluated(images)
    rows = found["scratch"].predictions
    assert set(rows["split"]) == {"val", "test"}
    assert len(rows) == (images[0]["split"] != "train").sum()
    assert rows.columns.tolist() == [
        *("image_id", "patient_id", "split", "label", "model", "logit", "probability")
    ]
    for split in ("val", "test"):
        part = rows[rows["split"] == split]
        called = part["probability"] >= found["scratch"].point.threshold
        metrics = found["scratch"].metrics[split]
        assert metrics["accuracy"] == pytest.approx(np.mean(called == part["label"]))
        plain = 1 / (1 + np.exp(-part["logit"].astype(float)))
        uncalibrated = found["scratch"].uncalibrated[split]
        assert uncalibrated["brier"] == pytest.approx(np.mean((plain - part["label"]) ** 2))
        # A logistic recalibration after a logistic recalibration: the slopes' ratio is its slope.
        assert uncalibrated["calibration_slope"] == pytest.approx(
            metrics["calibration_slope"] * found["scratch"].point.slope, rel=1e-4
        )


def test_the_files_say_what_was_found(
    images: tuple[pd.DataFrame, NDArray[np.uint8]], tmp_path: Path
) -> None:
    found, shifts = evaluated(images)
    compared = evaluate.compare(found["scratch"], found["transfer"], PARAMS)
    audit = tmp_path / "audit.json"
    with pytest.raises(InputError, match="dvc repro visualize"):
        read_audit(audit)
    probes = {"border": {"auc": 0.6, "low": 0.5, "high": 0.7}}
    pairs = [{"files": ["a.png", "b.png"]}, {"files": ["b.png", "c.png"]}]
    audit.write_text(json.dumps({"probes": probes, "near_duplicates": {"listed": pairs}}))
    read = read_audit(audit)
    assert read == {"probes": probes, "near_duplicates": {"a.png", "b.png", "c.png"}}
    write_files(tmp_path, found, shifts, compared, read["probes"])
    written = json.loads((tmp_path / "metrics.json").read_text())
    table = pd.read_csv(tmp_path / "intervals.csv").set_index(["model", "split", "metric"])
    for name, one in found.items():
        for split in ("val", "test"):
            for metric, value in one.metrics[split].items():
                pair = one.intervals[split][metric]
                row = table.loc[(name, split, metric)]
                assert row.tolist() == pytest.approx([value, *pair], rel=1e-12)
                if "_at_" in metric:
                    assert metric not in written[name][split]
                else:
                    ends = [written[name][split][f"{metric}_{side}"] for side in ("low", "high")]
                    assert written[name][split][metric] == value
                    assert ends == list(pair)
            assert written[name][split]["uncalibrated"] == one.uncalibrated[split]
            summary = robustness.summary(shifts, name, split)
            assert written[name][split]["robustness"] == summary
        for curve in one.curves:
            assert (tmp_path / "curves" / f"{curve}_{name}.csv").is_file()
    contenders = pd.read_csv(tmp_path / "contenders.csv")
    assert set(contenders["name"]) == {"scratch", "transfer", "border"}
    assert contenders["auc"].is_monotonic_decreasing
    compared_json = json.loads((tmp_path / "comparison.json").read_text())
    assert compared_json["test"]["auc"]["difference"] == compared["test"].auc.difference
    assert len(pd.read_csv(tmp_path / "predictions.csv")) == 2 * len(found["scratch"].predictions)
    assert {"model", "split"} < set(pd.read_csv(tmp_path / "subgroups.csv"))
