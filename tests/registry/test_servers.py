"""Real MLflow servers: two processes at once, and a server that stops at any of the writes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest

from pneumonia.core.errors import InputError
from pneumonia.registry import champion
from tests.pipeline.clone import clean_environment
from tests.pipeline.imports import ROOT
from tests.registry.candidates import Images, make_candidate, submit
from tests.tracking.servers import Proxy
from tests.tracking.stores import use


def versions_and_aliases(
    client: mlflow.MlflowClient, name: str
) -> tuple[list[str], dict[str, str]]:
    """The existing versions, and the aliases."""
    aliases = client.get_registered_model(name).aliases
    by_alias = {alias: str(version) for alias, version in aliases.items()}
    return champion.versions(client, name), by_alias


def at_once(server: str, name: str, folders: list[Path], barrier: Path) -> list[str]:
    """Submit each candidate in a process of its own; both write after both found nothing."""
    barrier.mkdir()
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.registry.candidates", str(folder), name, str(barrier)],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=clean_environment() | {
                "PYTHONPATH": f"{ROOT}/src", "MLFLOW_TRACKING_URI": server,
                "MLFLOW_EXPERIMENT_NAME": name,
            },
        )
        for folder in folders
    ]  # fmt: skip
    answers = [process.communicate() for process in processes]
    codes = [process.returncode for process in processes]
    assert codes == [0, 0], "\n".join(errors for _, errors in answers)
    return [json.loads(output.splitlines()[-1]) for output, _ in answers]


def test_two_processes_register_the_same_model_once(
    client: mlflow.MlflowClient, server: str, name: str, tmp_path: Path
) -> None:
    folders = [tmp_path / who / "model" for who in ("one", "other")]
    for folder in folders:
        make_candidate(folder)
    versions = at_once(server, name, folders, tmp_path / "barrier")
    assert versions == ["1", "1"]
    assert versions_and_aliases(client, name) == (["1"], {"champion": "1"})
    assert champion.rollback_stack(champion.history(client, name)) == ["1"]


def test_two_processes_with_two_models_leave_the_better_one_champion(
    client: mlflow.MlflowClient, server: str, name: str, tmp_path: Path, images: Images
) -> None:
    submit(make_candidate(tmp_path / "first", 2), name, images)
    folders = [tmp_path / who / "model" for who in ("one", "other")]
    for folder, side in zip(folders, (8, 32), strict=True):
        make_candidate(folder, side)
    good, poor = at_once(server, name, folders, tmp_path / "barrier")
    assert versions_and_aliases(client, name)[0] == ["1", "2", "3"]
    assert champion.champion(client, name) == good
    assert client.get_model_version(name, poor).tags["promotion.decision"] == "challenger"


# The writes in order, and whether the server carries them out before it stops.
WRITES = [
    ("POST /api/2.0/mlflow/runs/log-inputs", False),
    ("POST /api/2.0/mlflow/logged-models", True),
    ("PUT /api/2.0/mlflow-artifacts/artifacts", True),
    ("PATCH /api/2.0/mlflow/logged-models", True),
    ("POST /api/2.0/mlflow/registered-models/create", True),
    ("POST /api/2.0/mlflow/model-versions/create", False),
    ("POST /api/2.0/mlflow/model-versions/create", True),
    ("POST /api/2.0/mlflow/model-versions/set-tag", False),
    ("POST /api/2.0/mlflow/model-versions/set-tag", True),
    ("POST /api/2.0/mlflow/registered-models/alias", False),
    ("POST /api/2.0/mlflow/registered-models/alias", True),
    ("POST /api/2.0/mlflow/registered-models/set-tag", True),
]


@pytest.fixture(scope="module")
def proxy(on_sqlite: str) -> Iterator[tuple[Proxy, str]]:
    proxy = Proxy(on_sqlite)
    with proxy.listening() as address:
        yield proxy, address


# One of them by default; all of them take minutes.
EVERY = [
    pytest.param(*write, marks=[] if number == 6 else [pytest.mark.slow])
    for number, write in enumerate(WRITES)
]


@pytest.mark.parametrize(("write", "done"), EVERY)
def test_after_a_server_stopped_running_again_completes_the_registration(
    proxy: tuple[Proxy, str], name: str, tmp_path: Path, images: Images, write: str, done: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    passing, address = proxy
    candidate = make_candidate(tmp_path / "model")
    with use(address, monkeypatch) as client:
        passing.falls = (write, done)
        with pytest.raises(
            InputError, match="run the same command again when the store answers"
        ) as caught:
            submit(candidate, name, images)
        assert passing.fell
        assert len(str(caught.value).splitlines()) == 1
        passing.restore()
        submit(candidate, name, images)
        assert versions_and_aliases(client, name) == (["1"], {"champion": "1"})
        version = client.get_model_version(name, "1")
        assert version.tags["promotion.decision"] == "champion"
        assert version.tags["graph_sha256"] == candidate.graph_sha256
        assert champion.rollback_stack(champion.history(client, name)) == ["1"]
        assert champion.history(client, name)[0].version == "1"
        run = client.get_run(version.run_id)
        assert {artifact.path for artifact in client.list_artifacts(run.info.run_id)} >= {
            "promotion.json"
        }
        logged = client.search_logged_models([run.info.experiment_id])
        assert [model.status for model in logged].count("READY") == 1


def test_the_commands_say_that_the_store_does_not_respond(tmp_path: Path) -> None:
    ran = run_verb("rollback", "http://127.0.0.1:9")
    assert ran.returncode == 1
    [line] = ran.stderr.splitlines()
    assert line.startswith("rollback: MLFLOW_TRACKING_URI: http://127.0.0.1:9: ")


@pytest.mark.slow
def test_the_commands_work_on_a_server(
    client: mlflow.MlflowClient, server: str, name: str, tmp_path: Path, images: Images
) -> None:
    model = "pneumonia-chest-xray"
    for side in (2, 8):
        submit(make_candidate(tmp_path / str(side), side), model, images)
    first, second = champion.versions(client, model)
    assert run_verb("rollback", server).stdout == (
        f"version {first} of '{model}' is the champion again; before: {second}\n"
    )
    ran = run_verb("promote", server, second)
    assert ran.stdout == f"version {second} of '{model}' is now the champion; before: {first}\n"
    lines = run_verb("history", server).stdout.splitlines()
    assert [line.split()[2:4] for line in lines] == [
        [first, "first"], [second, "rule"], [first, "rollback"], [second, "promote"],
    ]  # fmt: skip
    client.delete_registered_model_alias(model, "champion")
    ran = run_verb("rollback", server)
    assert ran.returncode == 1
    assert "choose one with `make promote VERSION=n`" in ran.stderr


def run_verb(verb: str, server: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pneumonia", verb, *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env=clean_environment() | {
            "PYTHONPATH": f"{ROOT}/src", "MLFLOW_TRACKING_URI": server,
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_EXPERIMENT_NAME": "commands",
        },
    )  # fmt: skip
