"""Fixtures: each test has a store of its own, a database or an experiment on a server."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
import pytest

from tests.tracking.servers import mlflow_server, postgresql


@contextmanager
def use(uri: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[mlflow.MlflowClient]:
    """Point this process at a store, without patience with it."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    mlflow.set_tracking_uri(uri)
    yield mlflow.MlflowClient(uri)
    mlflow.set_tracking_uri(None)


@pytest.fixture(scope="session")
def on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of an `mlflow server` on SQLite."""
    folder = tmp_path_factory.mktemp("server")
    with mlflow_server(folder, f"sqlite:///{folder}/mlflow.db") as address:
        yield address


@pytest.fixture(scope="session")
def on_postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of an `mlflow server` on PostgreSQL."""
    folder = tmp_path_factory.mktemp("server on postgresql")
    with postgresql() as database, mlflow_server(folder, database) as address:
        yield address


@pytest.fixture(params=["on_sqlite", pytest.param("on_postgresql", marks=pytest.mark.slow)])
def server(request: pytest.FixtureRequest) -> str:
    """Both servers, one after the other."""
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def name(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Of a registered model, and of an experiment, that no other test has."""
    own = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", own)
    return own.lower()


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables, whose making takes seconds."""
    file = tmp_path_factory.mktemp("empty") / "mlflow.db"
    mlflow.MlflowClient(f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def store(
    tmp_path: Path, empty: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[mlflow.MlflowClient]:
    """An empty database that this process works with, where no server is needed."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(empty, tmp_path / "mlflow.db")
    with use(f"sqlite:///{tmp_path}/mlflow.db", monkeypatch) as client:
        yield client


@pytest.fixture
def client(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[mlflow.MlflowClient]:
    """Of a server that this process works with."""
    with use(server, monkeypatch) as found:
        yield found
