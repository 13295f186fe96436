"""The Docker image of the champion. DOCKER names the client; without it all is skipped."""

from __future__ import annotations

import os
import subprocess
import sys
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
    answers = ask(container, records(reproduced, table))
    assert [answer["probability"] for answer in answers] == pytest.approx(
        list(table["probability"]), abs=1e-6
    )


def test_the_container_has_no_tensorflow_and_no_root(container: str) -> None:
    script = "import importlib.util, os; print(importlib.util.find_spec('tensorflow'), os.getuid())"
    found, user = docker("run", "--rm", IMAGE, "python", "-c", script).split()
    assert found == "None"
    assert user != "0"
