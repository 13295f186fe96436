"""The Docker image of the champion. DOCKER names the client; without it all tests are skipped."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image
from selenium.webdriver.common.keys import Keys

from tests.pipeline.clone import Clone
from tests.pipeline.imports import ROOT
from tests.server.browser import Browser, needs_browser
from tests.server.crowd import Crowd
from tests.server.rest import ask, champion_predictions, free_port, records, wait_until_up
from tests.tracking.stores import use

DOCKER = os.environ.get("DOCKER", "")
IMAGE = "pneumonia-acceptance"
MODEL = "models:/pneumonia-chest-xray@champion"
PLAIN = (
    "mlflow", "models", "serve", "--model-uri", "/opt/model", "--env-manager", "local",
    "--host", "0.0.0.0", "--port", "8080",
)  # fmt: skip

pytestmark = [
    pytest.mark.container,
    pytest.mark.skipif(not DOCKER, reason="DOCKER is not set"),
]


def docker(*arguments: str) -> str:
    ran = subprocess.run([DOCKER, *arguments], capture_output=True, text=True, check=True)
    return ran.stdout.strip()


@contextmanager
def started(*command: str) -> Iterator[tuple[str, str]]:
    """Address and id of a new container, started as a hardened host would."""
    port = free_port()
    name = docker(
        "run", "--detach", "--rm", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL",
        "--publish", f"127.0.0.1:{port}:8080", IMAGE, *command,
    )  # fmt: skip
    server = f"http://127.0.0.1:{port}"
    try:
        wait_until_up(
            server, lambda: docker("ps", "--quiet", "--no-trunc", "--filter", f"id={name}")
        )
        yield server, name
    finally:
        subprocess.run([DOCKER, "rm", "--force", name], capture_output=True, check=False)


@pytest.fixture(scope="module")
def image(reproduced: Clone) -> str:
    """The image, built from the clone's champion."""
    venv = Path(sys.prefix)
    built = reproduced.run(
        "make", "image", f"DOCKER={DOCKER}", f"IMAGE={IMAGE}", f"VENV={venv}",
        "--old-file", f"{venv}/.installed",
    )  # fmt: skip
    assert built.returncode == 0, built.stdout + built.stderr
    return IMAGE


@pytest.fixture(scope="module")
def container(image: str) -> Iterator[str]:
    """Address of the container."""
    with started() as (server, _):
        yield server


@pytest.fixture(scope="module")
def xray(reproduced: Clone) -> tuple[bytes, float]:
    """An image's file as a client has it, and the probability that `evaluate` wrote for it."""
    table = champion_predictions(reproduced).head(1)
    [record] = records(reproduced, table)["dataframe_records"]
    return base64.b64decode(record["image"]), table["probability"].iloc[0]


def posted(address: str, body: bytes, kind: str) -> Any:
    """The only prediction in an answer."""
    request = urllib.request.Request(address, body, {"Content-Type": kind})
    with urllib.request.urlopen(request, timeout=60) as response:
        [answer] = json.load(response)["predictions"]
    return answer


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


def test_an_image_has_the_same_prediction_for_every_client(
    container: str,
    reproduced: Clone,
    xray: tuple[bytes, float],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    payload, written = xray
    image = base64.b64encode(payload).decode()
    split = {"dataframe_split": {"columns": ["image"], "data": [[image]]}}
    body = tmp_path / "image.json"
    body.write_text(json.dumps(split))
    store = f"sqlite:///{reproduced.path}/mlflow.db"
    command = reproduced.run(
        "mlflow", "models", "predict", "--model-uri", MODEL, "--input-path", str(body),
        "--output-path", str(tmp_path / "answer.json"), "--env-manager", "local",
        MLFLOW_TRACKING_URI=store,
    )  # fmt: skip
    assert command.returncode == 0, command.stderr
    [by_command] = json.loads((tmp_path / "answer.json").read_text())["predictions"]
    with use(store, monkeypatch):
        loaded = mlflow.pyfunc.load_model(MODEL).predict(pd.DataFrame({"image": [payload]}))
    with started(*PLAIN) as (plain, _):
        served = ask(plain, split)
    csv = f"image\n{image}\n".encode()
    answers = {
        "predict": posted(f"{container}/predict", payload, "application/octet-stream"),
        "records": ask(container, {"dataframe_records": [{"image": image}]})[0],
        "split": ask(container, split)[0],
        "csv": posted(f"{container}/invocations", csv, "text/csv"),
        "mlflow models serve": served[0],
        "mlflow models predict": by_command,
        "mlflow.pyfunc": loaded.iloc[0],
    }
    told = {way: answer["probability"] for way, answer in answers.items()}
    assert told == pytest.approx(dict.fromkeys(answers, written), abs=1e-6)


@needs_browser
def test_the_page_shows_the_image_with_its_map(
    container: str, chromium: Browser, xray: tuple[bytes, float], tmp_path: Path
) -> None:
    def shot() -> NDArray[np.int16]:
        png = chromium.id("picture").screenshot_as_png
        return np.array(Image.open(io.BytesIO(png)).convert("RGB"), np.int16)

    payload, written = xray
    file = tmp_path / "image.png"
    file.write_bytes(payload)
    chromium.open(container)
    chromium.choose(file)
    shown = float(chromium.id("probability").get_attribute("value"))
    assert shown == pytest.approx(written, abs=1e-6)
    overlaid = shot()
    chromium.id("opacity").send_keys(Keys.HOME)
    chromium.next_frame()
    alone = shot()
    # The image is grey, and what lies over it is in colour.
    assert np.ptp(alone, axis=-1).max() <= 2
    assert (np.ptp(overlaid, axis=-1) > 30).mean() > 0.01
    assert chromium.complaints() == []


def test_docker_stop_loses_no_request(image: str, xray: tuple[bytes, float]) -> None:
    with started() as (server, name):
        crowd = Crowd(int(server.rpartition(":")[2]), xray[0], 16)
        crowd.during(lambda: docker("stop", name))
    assert crowd.counts.keys() == {"answered", "refused"}
    assert crowd.counts["refused"] == 16


def test_the_container_is_small_on_disk_and_in_memory(container: str) -> None:
    assert int(docker("inspect", "--format", "{{.Size}}", IMAGE)) < 700e6
    [name] = docker("ps", "--quiet", "--filter", f"publish={container.rpartition(':')[2]}").split()
    status = docker("exec", name, "cat", "/proc/1/status")
    [resident] = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")]
    assert int(resident) < 500e3  # kB


def test_nothing_is_compiled_at_the_start(image: str) -> None:
    script = (
        "import os, sys\n"
        "from pneumonia.server.app import create_app\n"
        "create_app('/opt/model')\n"
        "kept = [getattr(module, '__cached__', None) for module in sys.modules.values()]\n"
        "print(len(kept), [file for file in kept if file and not os.path.exists(file)])\n"
    )
    assert docker("run", "--rm", image, "python", "-W", "ignore", "-c", script).endswith(" []")


def test_the_image_says_what_is_in_it(image: str, reproduced: Clone) -> None:
    labels = json.loads(docker("inspect", "--format", "{{json .Config.Labels}}", image))
    commit = reproduced.run("git", "rev-parse", "HEAD").stdout.strip()
    assert labels["org.opencontainers.image.title"] == "pneumonia-chest-xray"
    assert labels["org.opencontainers.image.version"] == "1"
    assert labels["org.opencontainers.image.revision"] == commit


def test_the_container_has_no_tensorflow_and_no_root(image: str) -> None:
    script = "import importlib.util, os; print(importlib.util.find_spec('tensorflow'), os.getuid())"
    found, user = docker("run", "--rm", image, "python", "-c", script).split()
    assert found == "None"
    assert user != "0"


def test_the_bill_of_materials_has_what_was_locked_and_debian(image: str, tmp_path: Path) -> None:
    bill = tmp_path / "bill.json"
    command = [sys.executable, ROOT / ".ci/sbom.py", image, "--docker", DOCKER, "--output", bill]
    subprocess.run(command, check=True)
    parts = [part for part in json.loads(bill.read_text())["components"] if "purl" in part]
    kinds = {
        kind: {part["name"] for part in parts if part["purl"].startswith(f"pkg:{kind}/")}
        for kind in ("pypi", "deb")
    }
    lock = (ROOT / "requirements-serve.txt").read_text()
    locked = re.findall(r"^([\w.-]+)==(?!.*sys_platform == )", lock, re.MULTILINE)
    found = {re.sub(r"[-_.]+", "-", name).lower() for name in kinds["pypi"]}
    assert found == set(locked)
    assert {"libc6", "bash"} <= kinds["deb"]
