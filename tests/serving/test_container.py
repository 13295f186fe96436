"""The Docker image of the champion. DOCKER names the client; without it all is skipped."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipeline.clone import Clone
from tests.serving.rest import ask, champion_predictions, free_port, records, wait_until_up

DOCKER = os.environ.get("DOCKER", "")
IMAGE = "pneumonia-acceptance"

pytestmark = [
    pytest.mark.container,
    pytest.mark.skipif(not DOCKER, reason="DOCKER is not set"),
]


def docker(*arguments: str) -> str:
    ran = subprocess.run([DOCKER, *arguments], capture_output=True, text=True, check=True)
    return ran.stdout.strip()


@pytest.fixture(scope="module")
def container(reproduced: Clone) -> Iterator[str]:
    """Address of the container, started as a hardened host would."""
    venv = Path(sys.prefix)
    built = reproduced.run(
        "make", "image", f"DOCKER={DOCKER}", f"IMAGE={IMAGE}", f"VENV={venv}",
        "--old-file", f"{venv}/.installed",
    )  # fmt: skip
    assert built.returncode == 0, built.stdout + built.stderr
    port = free_port()
    name = docker(
        "run", "--detach", "--rm", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL",
        "--publish", f"127.0.0.1:{port}:8080", IMAGE,
    )  # fmt: skip
    server = f"http://127.0.0.1:{port}"
    try:
        wait_until_up(
            server, lambda: docker("ps", "--quiet", "--no-trunc", "--filter", f"id={name}")
        )
        yield server
    finally:
        docker("rm", "--force", name)


def test_the_container_gives_the_probabilities_that_evaluate_wrote(
    container: str, reproduced: Clone
) -> None:
    table = champion_predictions(reproduced)
    rows = records(reproduced, table)["dataframe_records"]
    # As many at once as the application takes.
    parts = [rows[start : start + 32] for start in range(0, len(rows), 32)]
    answers = [answer for part in parts for answer in ask(container, {"dataframe_records": part})]
    assert [answer["probability"] for answer in answers] == pytest.approx(
        list(table["probability"]), abs=1e-6
    )


def test_predict_gives_them_too(container: str, reproduced: Clone) -> None:
    table = champion_predictions(reproduced).head(3)
    for row, record in zip(
        table.itertuples(), records(reproduced, table)["dataframe_records"], strict=True
    ):
        request = urllib.request.Request(
            f"{container}/predict", base64.b64decode(record["image"]),
            {"Content-Type": "application/octet-stream"},
        )  # fmt: skip
        with urllib.request.urlopen(request, timeout=60) as response:
            [answer] = json.load(response)["predictions"]
        assert answer["probability"] == pytest.approx(row.probability, abs=1e-6)


def test_the_image_says_what_is_in_it(container: str, reproduced: Clone) -> None:
    labels = json.loads(docker("inspect", "--format", "{{json .Config.Labels}}", IMAGE))
    commit = reproduced.run("git", "rev-parse", "HEAD").stdout.strip()
    assert labels["org.opencontainers.image.title"] == "pneumonia-chest-xray"
    assert labels["org.opencontainers.image.version"] == "1"
    assert labels["org.opencontainers.image.revision"] == commit


def test_the_container_runs_mlflow_models_serve(container: str, reproduced: Clone) -> None:
    port = free_port()
    name = docker(
        "run", "--detach", "--rm", "--read-only", "--tmpfs", "/tmp",
        "--publish", f"127.0.0.1:{port}:5000", IMAGE,
        "mlflow", "models", "serve", "--model-uri", "/opt/model", "--env-manager", "local",
        "--host", "0.0.0.0",
    )  # fmt: skip
    server = f"http://127.0.0.1:{port}"
    try:
        wait_until_up(server, lambda: docker("ps", "--quiet", "--filter", f"id={name}"))
        body = records(reproduced, champion_predictions(reproduced).head(2))
        plain, ours = ask(server, body), ask(container, body)
    finally:
        docker("rm", "--force", name)
    for one, other in zip(plain, ours, strict=True):
        assert one["probability"] == pytest.approx(other["probability"], abs=1e-6)


def test_the_container_has_no_tensorflow_and_no_root(container: str) -> None:
    script = "import importlib.util, os; print(importlib.util.find_spec('tensorflow'), os.getuid())"
    found, user = docker("run", "--rm", IMAGE, "python", "-c", script).split()
    assert found == "None"
    assert user != "0"
