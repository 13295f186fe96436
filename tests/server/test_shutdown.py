"""A shutdown while clients send requests."""

from __future__ import annotations

import signal
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from pneumonia.server.app import create_app
from pneumonia.server.limits import Limits
from pneumonia.server.shutdown import PROBES, ShutdownState
from tests.pipeline.imports import ROOT
from tests.server.crowd import Crowd
from tests.server.rest import running

COMMAND = [sys.executable, "-m", "pneumonia", "serve", "--model"]
SOURCE = {"PYTHONPATH": f"{ROOT}/src"}


@pytest.fixture(scope="module")
def state() -> ShutdownState:
    return ShutdownState()


@pytest.fixture(scope="module")
def stoppable(model_folder: Path, state: ShutdownState) -> TestClient:
    return TestClient(create_app(str(model_folder), Limits(), state))


@pytest.mark.parametrize("probe", PROBES)
def test_a_shutdown_refuses_probes_first_and_then_all_requests(
    probe: str, stoppable: TestClient, state: ShutdownState, images: list[bytes]
) -> None:
    def statuses() -> list[int]:
        headers = {"Content-Type": "image/png"}
        asked = stoppable.post("/predict", content=images[0], headers=headers)
        return [stoppable.get(probe).status_code, asked.status_code]

    state.draining, state.refusing = False, False
    assert statuses() == [200, 200]
    state.draining = True
    assert statuses() == [503, 200]
    state.refusing = True
    assert statuses() == [503, 503]
    refused = stoppable.get("/model")
    assert refused.json()["error"]["code"] == "stopping"
    assert int(refused.headers["Retry-After"]) > 0


def test_a_shutdown_loses_no_request(
    model_folder: Path, images: list[bytes], tmp_path: Path
) -> None:
    command = [*COMMAND, str(model_folder)]
    environment = SOURCE | {"PNEUMONIA_DRAIN_SECONDS": "1"}
    with running(command, tmp_path, environment) as (address, process, _):
        crowd = Crowd(int(address.rpartition(":")[2]), images[0], 16)
        crowd.during(process.terminate)
        assert process.wait(60) in (0, -signal.SIGTERM)
    assert crowd.counts.keys() == {"answered", "refused"}
    assert crowd.counts["refused"] == 16


def test_the_keyboard_ends_a_shutdown(model_folder: Path, tmp_path: Path) -> None:
    command = [*COMMAND, str(model_folder)]
    environment = SOURCE | {"PNEUMONIA_DRAIN_SECONDS": "600"}
    with running(command, tmp_path, environment) as (address, process, _):
        process.terminate()
        status = 200
        while status == 200:
            try:
                status = urllib.request.urlopen(f"{address}/ping", timeout=30).status
            except urllib.error.HTTPError as error:
                status = error.code
            time.sleep(0.05)
        assert status == 503
        process.send_signal(signal.SIGINT)
        process.wait(60)
