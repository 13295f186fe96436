"""A training that was killed continues its run, and leaves none open."""

from __future__ import annotations

from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException

from pneumonia.core.errors import InputError
from pneumonia.tracking import runs
from pneumonia.tracking.runs import FOLDER_TAG, TRAINING_TAG, folder_id
from pneumonia.tracking.store import connect

IMAGES = pd.DataFrame({"image_id": ["0", "1"], "label": [0, 1], "split": ["train", "val"]})


def killed(store: mlflow.MlflowClient, key: str, folder: Path) -> str:
    """A run whose process was killed before it could end it."""
    connect()
    tags = {TRAINING_TAG: key, FOLDER_TAG: folder_id(folder)}
    experiment = store.get_experiment_by_name("pneumonia")
    assert experiment is not None
    return str(store.create_run(experiment.experiment_id, tags=tags).info.run_id)


def test_killed_before_its_first_epoch_it_continues_its_run(
    store: mlflow.MlflowClient, tmp_path: Path
) -> None:
    first = killed(store, "key", tmp_path / "scratch")
    arguments = ("train_scratch", {"rate": 0.1}, "d" * 64, 64, IMAGES, "key")
    with runs.training_run(*arguments, folder=tmp_path / "scratch"):
        active = mlflow.active_run()
    assert active is not None
    assert active.info.run_id == first
    run = store.get_run(first)
    assert run.info.status == "FINISHED"
    # Which it had not when it was killed.
    assert run.data.params["rate"] == "0.1"


def test_a_run_of_another_training_of_that_folder_is_ended_and_no_other(
    store: mlflow.MlflowClient, tmp_path: Path
) -> None:
    ids = {
        name: killed(store, "former", tmp_path / name) for name in ("scratch", "elsewhere")
    }  # fmt: skip
    both = [killed(store, "key", tmp_path / "scratch") for _ in range(2)]
    arguments = ("train_scratch", {}, "d" * 64, 64, IMAGES, "key")
    with runs.training_run(*arguments, folder=tmp_path / "scratch"):
        pass
    assert store.get_run(ids["scratch"]).info.status == "KILLED"
    assert store.get_run(ids["elsewhere"]).info.status == "RUNNING"
    assert sorted(store.get_run(run_id).info.status for run_id in both) == ["FINISHED", "KILLED"]


def test_the_id_of_a_folder_names_it_and_hides_its_path(tmp_path: Path) -> None:
    assert folder_id(tmp_path) == folder_id(tmp_path / "a" / "..")
    assert folder_id(tmp_path) != folder_id(tmp_path / "a")
    assert len(folder_id(tmp_path)) == 16


def test_a_store_that_is_away_for_an_epoch_has_it_in_the_end(
    store: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    history = [{"epoch": epoch, "val_loss": 1 / epoch} for epoch in (1, 2, 3)]
    asked = []

    def away(*_: object, **__: object) -> None:
        asked.append(1)
        raise MlflowException("(sqlite3.OperationalError) database is locked")

    with runs.training_run("train_scratch", {}, "d" * 64, 64, IMAGES) as log_epoch:
        log_epoch(history[0])
        with monkeypatch.context() as patch:
            patch.setattr(mlflow, "log_metrics", away)
            for epoch in history[1:]:
                log_epoch(epoch)
        runs.log_missing(history)
        active = mlflow.active_run()
    assert len(asked) == 1  # each time takes half a minute
    [line] = capsys.readouterr().err.splitlines()
    assert "another process holds the database" in line
    assert "the training continues" in line
    assert active is not None
    curve = store.get_metric_history(active.info.run_id, "val_loss")
    assert [(point.step, point.value) for point in curve] == [(1, 1), (2, 1 / 2), (3, 1 / 3)]


def test_a_store_that_is_damaged_in_a_training_is_a_line(store: mlflow.MlflowClient) -> None:
    with (
        pytest.raises(InputError, match="the database is damaged; move it away") as caught,
        runs.training_run("train_scratch", {}, "d" * 64, 64, IMAGES),
    ):
        raise MlflowException("(sqlite3.DatabaseError) file is not a database\n[SQL: SELECT]")
    assert len(str(caught.value).splitlines()) == 1
