"""Operating point and choice depend on validation images alone; the files hold the results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from pneumonia.core.config import EvaluateParams
from pneumonia.core.errors import InputError
from pneumonia.datasets.manifest import load_images, read_manifest
from pneumonia.evaluation import evaluate, robustness
from pneumonia.evaluation.evaluate import choose_better, read_audit, write_files
from pneumonia.evaluation.shifts import SHIFTS
from pneumonia.evaluation.subgroups import image_attributes
from pneumonia.inference.operating_point import OperatingPoint

PARAMS = EvaluateParams(
    threshold="youden", calibration="platt", bootstrap=100, shift_images=400, seed=7
)


def evaluation(brier: float = 0.1) -> evaluate.Evaluation:
    return evaluate.Evaluation(
        predictions=pd.DataFrame(),
        point=OperatingPoint(1, 0, 0.5, 1),
        metrics={"val": {"brier": brier}},
        intervals={},
        uncalibrated={},
        subgroups=pd.DataFrame(),
        errors=pd.DataFrame(),
        confident_errors=pd.DataFrame(),
        curves={},
    )


def shifts_table(aucs: dict[tuple[str, str], float]) -> pd.DataFrame:
    """A table as of `robustness.measure`, with one AUC per model and split under every shift."""
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


def test_the_higher_auc_under_shift_wins_then_the_lower_brier_score() -> None:
    def chosen(scratch: tuple[float, float], transfer: tuple[float, float]) -> str:
        models = {"scratch": scratch, "transfer": transfer}
        shifts = shifts_table({(name, "val"): auc for name, (auc, _) in models.items()})
        return choose_better(
            {name: evaluation(brier) for name, (_, brier) in models.items()}, shifts
        )

    better, worse, calibrated = (0.95, 0.2), (0.94, 0.1), (0.95, 0.1)
    assert chosen(better, worse) == "scratch"
    assert chosen(worse, better) == "transfer"
    assert chosen(better, calibrated) == "transfer"
    assert chosen(calibrated, better) == "scratch"
    # The order of equal models does not matter.
    table = shifts_table({("a", "val"): 0.95, ("b", "val"): 0.95})
    orders = [{name: evaluation() for name in names} for names in ("ab", "ba")]
    assert choose_better(orders[0], table) == choose_better(orders[1], table)


def test_only_shifted_validation_images_choose_the_better_model() -> None:
    # `shifts_table` gives the unshifted and the inverted images the opposite order.
    models = {"scratch": evaluation(), "transfer": evaluation()}
    validation = {("scratch", "val"): 0.9, ("transfer", "val"): 0.91}
    test = {("scratch", "test"): 0.99, ("transfer", "test"): 0.5}
    assert choose_better(models, shifts_table(validation | test)) == "transfer"
    # The test rows are not even read: without them the answer is the same.
    assert choose_better(models, shifts_table(validation)) == "transfer"


class FakeGraph:
    """Its logit is the mean grey value of a band."""

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
    """Evaluate both graphs as stages/evaluate.py; permute the labels of a split."""
    table, images = xrays
    labels = table["label"].to_numpy(copy=True)
    part = (table["split"] == permute).to_numpy()
    labels[part] = np.random.default_rng(3).permutation(labels[part])
    table = table.assign(label=labels)
    params = PARAMS.model_copy(update=changed)
    rows = table[table["split"].isin(evaluate.SPLITS)]
    attributes = image_attributes(rows, table[table["split"] == "train"], set())
    outputs = {name: graph.run(images) for name, graph in GRAPHS.items()}
    logits = {name: outputs[name][0] for name in GRAPHS}
    shifts = robustness.shifted_logits(
        GRAPHS, logits, rows, images, params.shift_images, params.seed
    )
    evaluations = {}
    for name in GRAPHS:
        pool = robustness.threshold_pool(shifts, name)
        evaluations[name] = evaluate.evaluate_model(
            name, outputs[name], rows, attributes, pool, params
        )
    points = {name: evaluations[name].point for name in evaluations}
    return evaluations, robustness.measure(shifts, points)


def test_permuted_test_labels_change_no_point_no_calibration_and_no_choice(
    images: tuple[pd.DataFrame, NDArray[np.uint8]],
) -> None:
    for calibrated, rule in (
        ("platt", "youden"),
        ("temperature", "sensitivity>=0.9"),
        ("none", "cost 3:1"),
    ):
        changed = {"calibration": calibrated, "threshold": rule}
        original, shifts = evaluated(images, **changed)
        permuted, permuted_shifts = evaluated(images, "test", **changed)
        for name, expected in original.items():
            assert permuted[name].point == expected.point
            assert permuted[name].metrics["val"] == expected.metrics["val"]
            assert permuted[name].intervals["val"] == expected.intervals["val"]
            assert permuted[name].metrics["test"] != expected.metrics["test"]
        assert choose_better(permuted, permuted_shifts) == choose_better(original, shifts)
    # Permuted validation labels change the point.
    permuted, _ = evaluated(images, "val", **changed)
    assert permuted["scratch"].point != original["scratch"].point


def test_a_model_is_scored_on_validation_and_test(
    images: tuple[pd.DataFrame, NDArray[np.uint8]],
) -> None:
    result = evaluated(images)[0]["scratch"]
    rows = result.predictions
    assert set(rows["split"]) == {"val", "test"}
    assert len(rows) == (images[0]["split"] != "train").sum()
    assert rows.columns.tolist() == [
        *("image_id", "patient_id", "split", "label", "model", "logit", "probability")
    ]
    for split in ("val", "test"):
        part = rows[rows["split"] == split]
        called = part["probability"] >= result.point.threshold
        metrics = result.metrics[split]
        assert metrics["accuracy"] == pytest.approx(np.mean(called == part["label"]))
        plain = 1 / (1 + np.exp(-part["logit"].astype(float)))
        uncalibrated = result.uncalibrated[split]
        assert uncalibrated["brier"] == pytest.approx(np.mean((plain - part["label"]) ** 2))
        # The calibration is itself a logistic recalibration, so the two slopes differ by its slope.
        assert uncalibrated["calibration_slope"] == pytest.approx(
            metrics["calibration_slope"] * result.point.slope, rel=1e-4
        )


def test_the_files_hold_the_results(
    images: tuple[pd.DataFrame, NDArray[np.uint8]], tmp_path: Path
) -> None:
    evaluations, shifts = evaluated(images)
    comparisons = evaluate.compare_models(evaluations["scratch"], evaluations["transfer"], PARAMS)
    audit = tmp_path / "audit.json"
    with pytest.raises(InputError, match="dvc repro visualize"):
        read_audit(audit)
    probes = {"border": {"auc": 0.6, "low": 0.5, "high": 0.7}}
    pairs = [{"files": ["a.png", "b.png"]}, {"files": ["b.png", "c.png"]}]
    audit.write_text(json.dumps({"probes": probes, "near_duplicates": {"listed": pairs}}))
    read = read_audit(audit)
    assert read == {"probes": probes, "near_duplicates": {"a.png", "b.png", "c.png"}}
    write_files(tmp_path, evaluations, shifts, comparisons, read["probes"])
    written = json.loads((tmp_path / "metrics.json").read_text())
    table = pd.read_csv(tmp_path / "intervals.csv").set_index(["model", "split", "metric"])
    for name, result in evaluations.items():
        for split in ("val", "test"):
            for metric, value in result.metrics[split].items():
                pair = result.intervals[split][metric]
                row = table.loc[(name, split, metric)]
                assert row.tolist() == pytest.approx([value, *pair], rel=1e-12)
                if "_at_" in metric:
                    assert metric not in written[name][split]
                else:
                    ends = [written[name][split][f"{metric}_{side}"] for side in ("low", "high")]
                    assert written[name][split][metric] == value
                    assert ends == list(pair)
            assert written[name][split]["uncalibrated"] == result.uncalibrated[split]
            summary = robustness.summary(shifts, name, split)
            assert written[name][split]["robustness"] == summary
        for curve in result.curves:
            assert (tmp_path / "curves" / f"{curve}_{name}.csv").is_file()
    contenders = pd.read_csv(tmp_path / "contenders.csv")
    assert set(contenders["name"]) == {"scratch", "transfer", "border"}
    assert contenders["auc"].is_monotonic_decreasing
    compared_json = json.loads((tmp_path / "comparison.json").read_text())
    assert compared_json["test"]["auc"]["difference"] == comparisons["test"].auc.difference
    assert len(pd.read_csv(tmp_path / "predictions.csv")) == 2 * len(
        evaluations["scratch"].predictions
    )
    assert {"model", "split"} < set(pd.read_csv(tmp_path / "subgroups.csv"))
