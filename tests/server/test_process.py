"""The application as a process: command line, shutdown, logs."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipeline.clone import clean_environment
from tests.pipeline.imports import ROOT
from tests.server.rest import running

COMMAND = [sys.executable, "-m", "pneumonia", "serve"]
IN_FLIGHT = 4


def environment() -> dict[str, str]:
    return clean_environment() | {"PYTHONPATH": f"{ROOT}/src"}


@pytest.fixture
def server(
    model_folder: Path, tmp_path: Path
) -> Iterator[tuple[subprocess.Popen[bytes], int, Path]]:
    """A running application: process, port, log."""
    command = [*COMMAND, "--model", str(model_folder)]
    with running(command, tmp_path, {"PYTHONPATH": f"{ROOT}/src"}) as (address, process, log):
        yield process, int(address.rpartition(":")[2]), log


def in_flight(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/metrics", headers={"Connection": "close"})
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    [line] = [one for one in lines if one.startswith("pneumonia_requests_in_flight ")]
    return round(float(line.split()[1])) - 1  # without this one


def test_a_shutdown_completes_the_requests_in_progress(
    server: tuple[subprocess.Popen[bytes], int, Path], images: list[bytes]
) -> None:
    process, port, log = server
    image = images[0]
    head = (
        f"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\n"
        f"Content-Length: {len(image)}\r\n\r\n"
    )
    senders = [socket.create_connection(("127.0.0.1", port), 60) for _ in range(IN_FLIGHT)]
    for sender in senders:
        sender.sendall(head.encode() + image[:-10])
    until = time.monotonic() + 60
    while in_flight(port) < IN_FLIGHT:
        assert time.monotonic() < until
    process.send_signal(signal.SIGTERM)
    while b"Shutting down" not in log.read_bytes():
        assert time.monotonic() < until
        time.sleep(0.05)
    for sender in senders:
        sender.sendall(image[-10:])
    for sender in senders:
        response = http.client.HTTPResponse(sender)
        response.begin()
        assert response.status == 200
        assert json.load(response)["predictions"][0]["label"] == "NORMAL"
    assert process.wait(60) in (0, -signal.SIGTERM)
    # Every line that it wrote is JSON.
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    answered = [line for line in lines if line.get("route") == "/predict"]
    assert [line["status"] for line in answered] == [200] * IN_FLIGHT


def test_help_does_not_wait_for_mlflow() -> None:
    script = (
        "import sys\n"
        "from pneumonia.cli import main\n"
        "try:\n    main(['serve', '--help'])\n"
        "except SystemExit:\n"
        "    heavy = {'mlflow', 'pandas', 'fastapi', 'onnxruntime'} & set(sys.modules)\n"
        "    print('heavy:', *heavy)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], env=environment(), capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert "--model" in ran.stdout
    assert ran.stdout.endswith("heavy:\n")


@pytest.mark.parametrize(
    ("model", "variables", "told"),
    [
        ("models:/nothing@champion", {}, "serve: --model models:/nothing@champion: "),
        ("nowhere", {}, "serve: --model nowhere: "),
        ("nowhere", {"PNEUMONIA_MAX_IMAGES": "many"}, "serve: PNEUMONIA_MAX_IMAGES: 'many' is not"),
    ],
)
def test_a_model_that_cannot_be_served_is_one_line(
    model: str, variables: dict[str, str], told: str, tmp_path: Path
) -> None:
    ran = subprocess.run(
        [*COMMAND, "--model", model], cwd=tmp_path, capture_output=True, text=True, check=False,
        env=environment() | {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"} | variables,
    )  # fmt: skip
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1].startswith(told), ran.stderr
    assert "Traceback" not in ran.stderr
    assert {file.name for file in tmp_path.iterdir()} <= {"mlflow.db"}
