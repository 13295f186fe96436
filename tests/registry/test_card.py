"""Model card and statistics of images lie among the files of the registered version."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import mlflow

from pneumonia.inference.plausibility import Plausibility, load
from tests.registry.candidates import Images, make_candidate, submit
from tests.inference.images import fitted


def test_the_card_is_registered_with_the_model(
    store: mlflow.MlflowClient, tmp_path: Path, images: Images
) -> None:
    (tmp_path / "model_card.md").write_text("# Model card\n")
    (tmp_path / "intervals.csv").write_text("model,split,metric,value,low,high\n")
    candidate = replace(make_candidate(tmp_path / "first"), evaluation=tmp_path, card=tmp_path)
    version = submit(candidate, "with-card", images).version
    folder = mlflow.artifacts.download_artifacts(f"models:/with-card/{version}")
    found = [path.read_text() for path in Path(folder).rglob("model_card.md")]
    assert found == ["# Model card\n"]


def test_the_statistics_of_images_are_registered_with_the_model_and_tell_versions_apart(
    store: mlflow.MlflowClient, tmp_path: Path, images: Images
) -> None:
    reports = []
    for name, statistics in (
        ("first", fitted()),
        ("second", replace(fitted(), distance=2 * fitted().distance)),
    ):
        reports.append(tmp_path / name)
        reports[-1].mkdir()
        (reports[-1] / "intervals.csv").write_text("model,split,metric,value,low,high\n")
        statistics.save(reports[-1] / "plausibility.npz")
    first, second = reports
    without = make_candidate(tmp_path / "model")
    versions = [
        submit(replace(without, evaluation=report), "with-statistics", images).version
        for report in (None, first, first, second)
    ]
    assert versions == ["1", "2", "2", "3"]

    def served(version: str) -> Plausibility | None:
        model = mlflow.pyfunc.load_model(f"models:/with-statistics/{version}")
        return model.unwrap_python_model().bundle.predictor.plausibility

    found = served("3")
    assert found is not None
    assert found.distance == load(second / "plausibility.npz").distance
    assert served("1") is None
