"""A tracking server for a team: PostgreSQL, artifacts on S3, users with passwords."""

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
# How an administrator adds users. MLflow has no command for it.
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
        address: address of the server.
        artifacts: endpoint and credentials of its S3 storage, which clients do not have.
    """

    address: str
    artifacts: dict[str, str]

    def login(self, user: str, password: str = PASSWORD) -> dict[str, str]:
        """The environment variables of a user of the server."""
        return {
            "MLFLOW_TRACKING_URI": self.address,
            "MLFLOW_TRACKING_USERNAME": user,
            "MLFLOW_TRACKING_PASSWORD": password,
            "PYTHONPATH": "src",
        }


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TeamServer]:
    if find_spec("flask_wtf") is None:
        pytest.skip("no flask-wtf here: run make setup-team")
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
        artifacts = store.environment | {"MLFLOW_S3_ENDPOINT_URL": store.endpoint}
        with mlflow_server(
            folder, database, "--app-name", "basic-auth", artifacts=f"s3://{BUCKET}/mlflow",
            MLFLOW_AUTH_CONFIG_PATH=str(settings), MLFLOW_AUTH_ADMIN_PASSWORD=PASSWORD,
            MLFLOW_FLASK_SERVER_SECRET_KEY="throw-away-key", **artifacts,
        ) as address:  # fmt: skip
            team = TeamServer(address, artifacts)
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
    """Run a verb of the registry; return its output and the lines of standard error."""
    ran = clone.run("python", "-m", "pneumonia", *arguments, **login)
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

    output, errors = registry(clone, team.login("reader"), "history")
    assert output.split()[1:4] == ["version", "1", "first"]
    assert errors == []
    assert registry(clone, team.login("reader"), "promote", "1")[0].endswith(
        "already the champion\n"
    )

    images = champion_predictions(clone).head(2)
    command = [sys.executable, "-m", "pneumonia", "serve", "--model", CHAMPION]
    # Artifacts come through the tracking server: clients have no credentials of its S3 storage.
    with running(command, clone.path, team.login("reader")) as (address, _, _):
        responses = ask(address, records(clone, images))
    assert [response["probability"] for response in responses] == pytest.approx(
        list(images["probability"])
    )


@pytest.mark.slow
@pytest.mark.long
def test_a_user_without_permission_gets_one_line(
    reproduced: Clone, tmp_path: Path, team: TeamServer
) -> None:
    clone = reproduced.copy(tmp_path / "clone")
    succeed(clone, "make", "--assume-old=.venv/.installed", "register", **team.login("writer"))
    ran = clone.run("dvc", "repro", "--single-item", "--force", "register", **team.login("reader"))
    assert ran.returncode != 0
    [line] = [line for line in ran.stderr.splitlines() if line.startswith("register: ")]
    assert line == (
        f"register: MLFLOW_TRACKING_URI: {team.address}: user 'reader' may not do this; "
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
    assert registry(reproduced, login, "history") == ("", [f"history: {refused}"])
    served = reproduced.run("python", "-m", "pneumonia", "serve", "--model", CHAMPION, **login)
    assert served.returncode == 1
    assert served.stderr.splitlines()[-1].startswith(f"serve: --model {CHAMPION}: {refused}")
