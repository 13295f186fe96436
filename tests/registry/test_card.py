"""Model card and image statistics are among the files of a registered version."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import mlflow

from pneumonia.inference.plausibility import Plausibility, load
from tests.inference.images import fitted
from tests.registry.candidates import Images, make_candidate, read_candidate, submit


def test_the_card_is_registered_with_the_model(
    store: mlflow.MlflowClient, tmp_path: Path, images: Images
) -> None:
    (tmp_path / "model_card.md").write_text("# Model card\n")
    (tmp_path / "intervals.csv").write_text("model,split,metric,value,low,high\n")
    candidate = replace(make_candidate(tmp_path / "first"), evaluation=tmp_path, card=tmp_path)
    version = submit(candidate, "with-card", images).version
    folder = mlflow.artifacts.download_artifacts(f"models:/with-card/{version}")
    cards = [path.read_text() for path in Path(folder).rglob("model_card.md")]
    assert cards == ["# Model card\n"]


def test_the_image_statistics_are_registered_and_distinguish_versions(
    store: mlflow.MlflowClient, tmp_path: Path, images: Images
) -> None:
    reports = [make_candidate(tmp_path / "model").evaluation]
    for name, statistics in (
        ("first", fitted()),
        ("second", replace(fitted(), distance=2 * fitted().distance)),
    ):
        reports.append(tmp_path / name)
        reports[-1].mkdir()
        (reports[-1] / "intervals.csv").write_text("model,split,metric,value,low,high\n")
        statistics.save(reports[-1] / "plausibility.npz")
    without, first, second = reports
    candidate = read_candidate(without)
    versions = [
        submit(replace(candidate, evaluation=report), "with-statistics", images).version
        for report in (without, first, first, second)
    ]
    assert versions == ["1", "2", "2", "3"]

    def registered_statistics(version: str) -> Plausibility | None:
        model = mlflow.pyfunc.load_model(f"models:/with-statistics/{version}")
        return model.unwrap_python_model().bundle.predictor.plausibility

    statistics = registered_statistics("3")
    assert statistics is not None
    assert statistics.distance == load(second / "plausibility.npz").distance
    assert registered_statistics("1") is None
