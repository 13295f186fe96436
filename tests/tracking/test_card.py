"""Model card and statistics of films lie among the files of the registered version."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import mlflow

from pneumonia.serving.plausibility import load
from tests.serving.films import fitted
from tests.tracking.candidates import Films, make_candidate, submit


def test_the_card_is_registered_with_the_model(
    store: mlflow.MlflowClient, tmp_path: Path, films: Films
) -> None:
    card = tmp_path / "model_card.md"
    card.write_text("# Model card\n")
    candidate = replace(make_candidate(tmp_path / "first"), model_card=card)
    version = submit(candidate, "with-card", films).version
    folder = mlflow.artifacts.download_artifacts(f"models:/with-card/{version}")
    found = [path.read_text() for path in Path(folder).rglob("model_card.md")]
    assert found == ["# Model card\n"]


def test_the_statistics_of_films_are_registered_with_the_model_and_tell_versions_apart(
    store: mlflow.MlflowClient, tmp_path: Path, films: Films
) -> None:
    first, second = tmp_path / "first.npz", tmp_path / "second.npz"
    fitted().save(first)
    replace(fitted(), distance=2 * fitted().distance).save(second)
    without = make_candidate(tmp_path / "model")
    versions = [
        submit(replace(without, plausibility=file), "with-statistics", films).version
        for file in (None, first, first, second)
    ]
    assert versions == ["1", "2", "2", "3"]
    model = mlflow.pyfunc.load_model(f"models:/with-statistics/{versions[-1]}")
    served = model.unwrap_python_model().plausibility
    assert served.distance == load(second).distance
    assert (
        mlflow.pyfunc.load_model("models:/with-statistics/1").unwrap_python_model().plausibility
        is None
    )
