"""Where the store is: in a repository, in a temporary copy of it, and where a variable says."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import mlflow
import pytest
from filelock import FileLock, Timeout

from pneumonia.tracking import store as module


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, "sqlite:///{repository}/mlflow.db"),
        ("", "sqlite:///{repository}/mlflow.db"),
        ("sqlite:///mlflow.db", "sqlite:///{repository}/mlflow.db"),
        ("sqlite:///stores/team.db", "sqlite:///{repository}/stores/team.db"),
        ("sqlite:////srv/mlflow.db", "sqlite:////srv/mlflow.db"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("postgresql://team@host/mlflow", "postgresql://team@host/mlflow"),
    ],
)
def test_a_relative_file_is_meant_from_the_repository(
    given: str | None, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / ".dvc/tmp/exps/tmp1"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    if given is None:
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    else:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", given)
    # As DVC has it in a stage of a queued experiment.
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    assert module.uri() == expected.format(repository=tmp_path)
    monkeypatch.delenv("DVC_ROOT")
    assert module.uri() == expected.format(repository=copy)


def test_a_store_made_from_a_temporary_copy_keeps_its_artifacts_out_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / ".dvc/tmp/exps/tmp1"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    mlflow.set_tracking_uri(None)
    module.connect()
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    places = {
        experiment.name: experiment.artifact_location for experiment in client.search_experiments()
    }
    assert set(places) == {"Default", "pneumonia"}
    assert all(Path(place).parent == tmp_path / "mlruns" for place in places.values())
    assert list(copy.iterdir()) == []
    assert Path.cwd() == copy


def test_artifacts_are_beside_the_database_whatever_the_current_folder(
    store: mlflow.MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in a clone that `mlflow run` made of a git repository.
    (tmp_path / "clone").mkdir()
    monkeypatch.chdir(tmp_path / "clone")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "clone"))
    module.connect()
    made = store.get_experiment_by_name("pneumonia")
    assert made is not None
    assert made.artifact_location == f"{tmp_path}/mlruns/{made.experiment_id}"


def test_a_store_whose_making_was_killed_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    # As a kill leaves it: some tables, and a journal.
    with sqlite3.connect(tmp_path / "mlflow.db.writing") as half:
        half.execute("CREATE TABLE datasets (half INTEGER)")
    (tmp_path / "mlflow.db.writing-journal").touch()
    module.connect()
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    assert client.get_experiment_by_name("pneumonia") is not None
    assert {path.name for path in tmp_path.iterdir()} <= {"mlflow.db", "mlflow.db.lock", "mlruns"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("(sqlite3.OperationalError) database is locked", "another process holds the database"),
        ("(sqlite3.DatabaseError) file is not a database", "`make register` fills a new one"),
        ("(sqlite3.OperationalError) database or disk is full", "disk full: free some space and"),
        ("API request failed: Max retries exceeded with url", "no server answers there; start it"),
        ("something else\nand more", "something else"),
    ],
)
def test_an_error_is_a_line_with_its_remedy(text: str, said: str) -> None:
    line = module.describe_error(RuntimeError(text))
    assert line.startswith("MLFLOW_TRACKING_URI: ")
    assert said in line
    assert len(line.splitlines()) == 1


def test_a_store_is_made_by_one_process_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    others_wait = []

    def set_experiment(name: str) -> None:
        with contextlib.suppress(Timeout), FileLock(f"{tmp_path}/mlflow.db.lock", timeout=0):
            return
        others_wait.append(name)

    monkeypatch.setattr(mlflow, "set_experiment", set_experiment)
    module.connect()
    assert others_wait == ["pneumonia"]
    with FileLock(f"{tmp_path}/mlflow.db.lock", timeout=0):
        pass  # it is free again


def test_a_row_that_another_process_inserts_meanwhile_is_written_at_the_second_attempt() -> None:
    written: list[tuple[str, ...]] = []

    def insert(*row: str) -> None:
        written.append(row)
        if len(written) == 1:
            raise mlflow.MlflowException("(psycopg.errors.UniqueViolation) duplicate key value")

    module.retry_on_conflict(insert, "name", "1", "promotion.against", "none")
    assert written == [("name", "1", "promotion.against", "none")] * 2

    def refuse(*_: str) -> None:
        raise mlflow.MlflowException("the disk is full")

    with pytest.raises(mlflow.MlflowException, match="the disk is full"):
        module.retry_on_conflict(refuse, "name")
