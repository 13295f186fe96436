"""Where a store keeps what is logged."""

from __future__ import annotations

from pathlib import Path

import mlflow
import pytest

from pneumonia.tracking.store import connect


def test_artifacts_lie_beside_the_database_wherever_one_works(
    store: mlflow.MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in a clone that `mlflow run` made of a git repository.
    (tmp_path / "clone").mkdir()
    monkeypatch.chdir(tmp_path / "clone")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "clone"))
    connect()
    made = store.get_experiment_by_name("pneumonia")
    assert made is not None
    assert made.artifact_location == f"{tmp_path}/mlruns/{made.experiment_id}"
