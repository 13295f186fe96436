"""Requests to a scoring server."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pandas as pd

from pneumonia.core.config import load_params
from pneumonia.datasets.manifest import read_manifest
from pneumonia.datasets.sources import open_source
from tests.pipeline.clone import Clone, clean_environment


def free_port() -> int:
    """A free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(
    command: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> Iterator[tuple[str, subprocess.Popen[bytes], Path]]:
    """A server of its own session: its address, its process, its log; stopped at the end.

    Args:
        command: without its port.
        folder: that it works in, and where its log lies.
        environment: besides that of `clean_environment`; without it a stop waits for nobody.
    """
    port, log = free_port(), folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--port", str(port)], cwd=folder,
            env=clean_environment() | {"PNEUMONIA_DRAIN_SECONDS": "0"} | environment,
            stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until_up(address, lambda: process.poll() is None)
        yield address, process, log
    finally:
        # `mlflow models serve` has the server as a child.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def wait_until_up(server: str, alive: Any, path: str = "ping") -> None:
    """Ask for /ping, or another path, until it answers; `alive()` says whether there is hope."""
    for _ in range(240):
        assert alive(), "the server ended"
        try:
            urllib.request.urlopen(f"{server}/{path}", timeout=5)
            return
        except OSError:
            time.sleep(0.5)
    raise AssertionError("the server did not come up in two minutes")


def ask(server: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The predictions that /invocations gives."""
    request = urllib.request.Request(
        f"{server}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)["predictions"]


def in_base64(file: Path) -> str:
    """A file's bytes as JSON carries them."""
    return base64.b64encode(file.read_bytes()).decode()


def champion_predictions(clone: Clone) -> pd.DataFrame:
    """What `evaluate` wrote for the champion on the test images."""
    report = clone.path / "reports/evaluate"
    champion = json.loads((report / "operating_point.json").read_text())["better"]
    table = pd.read_csv(report / "predictions.csv", dtype={"image_id": str})
    return table[(table["model"] == champion) & (table["split"] == "test")]


def records(clone: Clone, table: pd.DataFrame) -> dict[str, Any]:
    """A request with the source file of each row, as a client has it before any preprocessing."""
    params = load_params(clone.path / "params.yaml")
    sources = {image.file: image for image in open_source(params.data)}
    manifest = read_manifest(clone.path / "data/prepared").set_index("image_id")
    files = [sources[manifest.loc[image_id, "file"]].read()[0] for image_id in table["image_id"]]
    return {"dataframe_records": [{"image": base64.b64encode(file).decode()} for file in files]}
