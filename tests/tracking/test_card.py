"""The model card lies among the files of the registered version."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import mlflow

from tests.tracking.candidates import Films, make_candidate, submit


def test_the_card_is_registered_with_the_model(
    store: mlflow.MlflowClient, tmp_path: Path, films: Films
) -> None:
    (tmp_path / "model_card.md").write_text("# Model card\n")
    (tmp_path / "intervals.csv").write_text("model,split,metric,value,low,high\n")
    candidate = replace(make_candidate(tmp_path / "first"), report=tmp_path)
    version = submit(candidate, "with-card", films).version
    folder = mlflow.artifacts.download_artifacts(f"models:/with-card/{version}")
    found = [path.read_text() for path in Path(folder).rglob("model_card.md")]
    assert found == ["# Model card\n"]
