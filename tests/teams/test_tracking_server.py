"""A team's tracking server: PostgreSQL, artifacts on S3 behind it, log-ins."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.pipeline.clone import Clone, clean_environment
from tests.server.rest import ask, champion_predictions, records, running
from tests.teams.object_store import BUCKET, object_store
from tests.teams.test_remotes import CHAMPION, succeed
from tests.tracking.servers import mlflow_server, postgresql

PASSWORD = "throw-away-password"
# As a person types it who gives a colleague a log-in; MLflow has no command for it.
CREATE = """
import sys
from mlflow.server import get_app_client

users = get_app_client("basic-auth", sys.argv[1])
for name in ("writer", "reader"):
    users.create_user(name, "throw-away-password")
"""


@dataclass(frozen=True)
class TeamServer:
    """A running tracking server.

    Attributes:
        address: of it.
        artifacts: the endpoint and the credentials of the S3 behind it, which clients do not have.
    """

    address: str
    artifacts: dict[str, str]

    def login(self, user: str, password: str = PASSWORD) -> dict[str, str]:
        """The environment of somebody who works with it."""
        return {
            "MLFLOW_TRACKING_URI": self.address,
            "MLFLOW_TRACKING_USERNAME": user,
            "MLFLOW_TRACKING_PASSWORD": password,
            "PYTHONPATH": "src",
        }


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TeamServer]:
    if find_spec("flask_wtf") is None:
        pytest.skip("no flask-wtf here: make setup-team")
    folder = tmp_path_factory.mktemp("team")
    with postgresql() as database, object_store(tmp_path_factory.mktemp("artifacts")) as store:
        _create_database(database, "users")
        settings = folder / "auth.ini"
        settings.write_text(
            "[mlflow]\n"
            "default_permission = READ\n"
            f"database_uri = {database.rpartition('/')[0]}/users\n"
            "admin_username = admin\n"
            "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        )
        behind = store.environment | {"MLFLOW_S3_ENDPOINT_URL": store.endpoint}
        with mlflow_server(
            folder, database, "--app-name", "basic-auth", artifacts=f"s3://{BUCKET}/mlflow",
            MLFLOW_AUTH_CONFIG_PATH=str(settings), MLFLOW_AUTH_ADMIN_PASSWORD=PASSWORD,
            MLFLOW_FLASK_SERVER_SECRET_KEY="throw-away-key", **behind,
        ) as address:  # fmt: skip
            team = TeamServer(address, behind)
            subprocess.run(
                [sys.executable, "-c", CREATE, address],
                env=clean_environment() | team.login("admin"), check=True,
            )  # fmt: skip
            yield team


def _create_database(database: str, name: str) -> None:
    import psycopg

    with psycopg.connect(database.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(f"create database {name}")


def registry(clone: Clone, login: dict[str, str], *arguments: str) -> tuple[str, list[str]]:
    """What the registry's command says: standard output, lines of standard error."""
    ran = clone.run("python", "-m", "pneumonia.registry.champion", *arguments, **login)
    return ran.stdout, ran.stderr.splitlines()


@pytest.mark.slow
@pytest.mark.long
def test_the_pipeline_works_on_the_teams_server(
    reproduced: Clone, tmp_path: Path, team: TeamServer
) -> None:
    clone = reproduced.copy(tmp_path / "clone")
    (clone.path / "mlflow.db").unlink()
    succeed(clone, "make", "--assume-old=.venv/.installed", "register", **team.login("writer"))
    assert not (clone.path / "mlflow.db").exists()

    told, errors = registry(clone, team.login("reader"), "history")
    assert told.split()[1:4] == ["version", "1", "first"]
    assert errors == []
    assert registry(clone, team.login("reader"), "promote", "1")[0].endswith("already\n")

    images = champion_predictions(clone).head(2)
    command = [sys.executable, "-m", "pneumonia", "serve", "--model", CHAMPION]
    # Artifacts come through the server: who serves has no key of the S3 behind it.
    with running(command, clone.path, team.login("reader")) as (address, _, _):
        said = ask(address, records(clone, images))
    assert [one["probability"] for one in said] == pytest.approx(list(images["probability"]))


@pytest.mark.slow
@pytest.mark.long
def test_who_may_not_write_is_told_so_in_one_line(
    reproduced: Clone, tmp_path: Path, team: TeamServer
) -> None:
    clone = reproduced.copy(tmp_path / "clone")
    succeed(clone, "make", "--assume-old=.venv/.installed", "register", **team.login("writer"))
    ran = clone.run("dvc", "repro", "--single-item", "--force", "evaluate", **team.login("reader"))
    assert ran.returncode != 0
    [line] = [line for line in ran.stderr.splitlines() if line.startswith("evaluate: ")]
    assert line == (
        f"evaluate: MLFLOW_TRACKING_URI: {team.address}: user 'reader' may not do this; "
        "ask who runs the server for the permission"
    )
    assert "Traceback" not in ran.stderr


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("password", ["", "wrong"])
def test_a_wrong_password_gets_one_line(reproduced: Clone, team: TeamServer, password: str) -> None:
    login = team.login("writer", password)
    refused = (
        f"MLFLOW_TRACKING_URI: {team.address}: the server does not let user 'writer' in; set "
        "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    )
    assert registry(reproduced, login, "history") == ("", [f"registry: {refused}"])
    served = reproduced.run("python", "-m", "pneumonia", "serve", "--model", CHAMPION, **login)
    assert served.returncode == 1
    assert served.stderr.splitlines()[-1].startswith(f"serve: --model {CHAMPION}: {refused}")
