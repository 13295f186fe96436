"""Two machines share outputs through a DVC remote: the second one gets the same champion."""

from __future__ import annotations

import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from tests.pipeline.clone import Clone
from tests.server.rest import ask, champion_predictions, records, running
from tests.teams.object_store import BUCKET, object_store
from tests.teams.ssh import ssh_server, user

NAME = "pneumonia-chest-xray"
CHAMPION = f"models:/{NAME}@champion"
GIT = ("git", "-c", "user.name=test", "-c", "user.email=test@example.org")
ORIGIN_TAGS = ("git.commit", "dvc.exp_name", "dvc.exp_baseline_rev")


@dataclass(frozen=True)
class Remote:
    """A DVC remote.

    Attributes:
        url: address for `dvc remote add`.
        shared: options that the team commits.
        local: options that stay on a machine.
        environment: variables that DVC needs.
    """

    url: str
    shared: dict[str, str] = field(default_factory=dict)
    local: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)

    def set_local_options(self, clone: Clone) -> None:
        """Set the options that are not committed."""
        for option, value in self.local.items():
            succeed(clone, "dvc", "remote", "modify", "--local", "team", option, value)


@pytest.fixture
def on_folder(tmp_path: Path) -> Remote:
    return Remote(str(tmp_path / "share" / "pneumonia"))


@pytest.fixture
def on_ssh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    folder = tmp_path_factory.mktemp("ssh")
    with ssh_server(folder) as server:
        yield Remote(
            f"ssh://127.0.0.1:{server.port}{folder}/share",
            local={"user": user(), "keyfile": str(server.key)},
            environment={"HOME": str(server.home)},
        )


@pytest.fixture
def on_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    pytest.importorskip("dvc_s3", reason="no dvc-s3 here: run make setup-team")
    with object_store(tmp_path_factory.mktemp("s3")) as server:
        yield Remote(
            f"s3://{BUCKET}/pneumonia",
            shared={"endpointurl": server.endpoint},
            environment=server.environment,
        )


def succeed(clone: Clone, *command: str, **environment: str) -> str:
    ran = clone.run(*command, **environment)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def share(first: Clone, remote: Remote) -> None:
    """Commit the lock and the remote, and push the outputs."""
    succeed(first, "dvc", "remote", "add", "--default", "team", remote.url)
    for option, value in remote.shared.items():
        succeed(first, "dvc", "remote", "modify", "team", option, value)
    remote.set_local_options(first)
    succeed(first, "git", "add", "dvc.lock", ".dvc/config")
    succeed(first, *GIT, "commit", "--quiet", "-m", "Share the outputs")
    succeed(first, "dvc", "push", **remote.environment)


def fetch(first: Clone, path: Path, remote: Remote) -> Clone:
    """A second machine: a clone at another path with pulled outputs and without an MLflow store."""
    succeed(first, "git", "clone", "--quiet", str(first.path), str(path))
    second = Clone(path)
    remote.set_local_options(second)
    assert not (path / ".dvc" / "cache").exists()
    succeed(second, "dvc", "pull", **remote.environment)
    assert not (path / "mlflow.db").exists()
    return second


def register(clone: Clone) -> None:
    """Run `make register` in the environment of the tests."""
    succeed(clone, "make", "--assume-old=.venv/.installed", "register")


def champion(clone: Clone) -> ModelVersion:
    client = MlflowClient(f"sqlite:///{clone.path}/mlflow.db")
    return client.get_model_version_by_alias(NAME, "champion")


def responses(clone: Clone, table: pd.DataFrame) -> list[dict[str, object]]:
    """The responses for images of the champion that is served in a clone."""
    command = [sys.executable, "-m", "pneumonia", "serve", "--model", CHAMPION]
    with running(command, clone.path, {"PYTHONPATH": "src"}) as (address, _, _):
        urllib.request.urlopen(f"{address}/model", timeout=60).close()
        return ask(address, records(clone, table))


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("kind", ["on_folder", "on_ssh", "on_s3"])
def test_a_second_machine_has_the_same_champion(
    reproduced: Clone, tmp_path: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    remote: Remote = request.getfixturevalue(kind)
    first = reproduced.copy(tmp_path / "first")
    share(first, remote)
    second = fetch(first, tmp_path / "another place" / "second", remote)
    assert "up to date" in succeed(second, "dvc", "status")
    register(second)
    assert "up to date" in succeed(second, "dvc", "status")
    # The stage register wrote the same bytes as on the first machine.
    assert succeed(second, "git", "status", "--porcelain") == ""

    tags, expected_tags = (
        {key: tag for key, tag in champion(clone).tags.items() if key not in ORIGIN_TAGS}
        for clone in (second, first)
    )
    assert tags == expected_tags
    assert tags["promotion.decision"] == "champion"
    assert {"graph_sha256", "weights_sha256", "data_digest"} < set(tags)

    images = champion_predictions(first).head(4)
    probabilities, expected = (
        [response["probability"] for response in responses(clone, images)]
        for clone in (second, first)
    )
    assert probabilities == expected
    assert probabilities == pytest.approx(list(images["probability"]))
