"""Hosts that train together: who writes, who takes what, and what a lost one costs."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
import yaml

from pneumonia.core.errors import InputError
from pneumonia.datasets.manifest import digest
from pneumonia.models.devices import HOST_LOST, TrainingHost, exit_if_host_lost, training_host
from tests.pipeline.imports import ROOT
from tests.server.rest import free_port

TWO = {"worker": ["a:2222", "b:2222"]}
PATIENCE = 600  # seconds after which a process of a test counts as hung
# What docs/how-to/several-hosts.md has each host run.
SUPERVISOR = 'until "$@"; do [ $? -ge 75 ] || exit 1; done'
Start = Callable[..., "Host"]


def config(cluster: dict[str, list[str]], kind: str, index: int) -> dict[str, str]:
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})}


def test_the_first_host_is_the_chief() -> None:
    assert training_host(config(TWO, "worker", 0)) == TrainingHost(0, ("a:2222", "b:2222"))
    second = training_host(config(TWO, "worker", 1))
    assert (second.index, second.is_chief, second.is_distributed) == (1, False, True)
    kubeflow = {"chief": ["c:1"], "worker": ["a:1", "b:1"]}
    assert training_host(config(kubeflow, "chief", 0)).is_chief
    assert training_host(config(kubeflow, "worker", 0)) == TrainingHost(1, ("c:1", "a:1", "b:1"))


@pytest.mark.parametrize("given", [{}, {"TF_CONFIG": ""}, config({"worker": ["a:1"]}, "worker", 0)])
def test_one_host_is_alone(given: dict[str, str]) -> None:
    assert training_host(given).is_chief
    assert not training_host(given).is_distributed


@pytest.mark.parametrize(
    "given",
    [
        {"TF_CONFIG": "a:2222,b:2222"},
        {"TF_CONFIG": '["a:2222"]'},
        {"TF_CONFIG": json.dumps({"cluster": TWO})},
        config(TWO, "worker", 2),
        config(TWO, "worker", -1),
        config(TWO, "chief", 0),
        config(TWO | {"evaluator": ["c:2222"]}, "evaluator", 0),
    ],
)
def test_a_cluster_that_cannot_be_is_refused(given: dict[str, str]) -> None:
    with pytest.raises(InputError, match=r"^TF_CONFIG: "):
        training_host(given)


def test_a_lost_host_ends_this_one_with_a_line_and_a_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import tensorflow as tf

    gone = tf.errors.UnavailableError(None, None, "Collective ops is aborted by: no heartbeat:\nx")
    with pytest.raises(tf.errors.UnavailableError), exit_if_host_lost("train_scratch"):
        raise gone
    monkeypatch.setenv("TF_CONFIG", config(TWO, "worker", 0)["TF_CONFIG"])
    with pytest.raises(ValueError, match="ours"), exit_if_host_lost("train_scratch"):
        raise ValueError("ours")
    with pytest.raises(SystemExit) as ended, exit_if_host_lost("train_scratch"):
        raise gone
    assert ended.value.code == HOST_LOST == os.EX_TEMPFAIL
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("train_scratch: host 0 lost another host (no heartbeat);")


# Two hosts on loopback, each in a working folder of its own.


@dataclass(frozen=True)
class Host:
    """A stage that runs in a working folder, or a supervisor that starts it again and again."""

    folder: Path
    process: subprocess.Popen[bytes]

    def said(self, stream: str) -> str:
        """What it has written to `out` or `err`."""
        return self.folder.with_suffix(f".{stream}").read_text()

    def status(self) -> int:
        """Wait until it has ended by itself."""
        return self.process.wait(PATIENCE)

    def wait_until_said(self, text: str) -> None:
        until = time.monotonic() + PATIENCE
        while text not in self.said("out"):
            assert self.process.poll() is None and time.monotonic() < until, self.said("err")
            time.sleep(0.05)


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a stage in a folder; what still runs at the end of the test is killed."""
    started: list[Host] = []

    def begin(
        folder: Path, stage: str, addresses: list[str], index: int, supervisor: str = ""
    ) -> Host:
        own = {"PYTHONPATH": "src", "PYTHONDONTWRITEBYTECODE": "1", "CUDA_VISIBLE_DEVICES": ""}
        command = [sys.executable, f"stages/{stage}.py"]
        if supervisor:
            command = ["sh", "-c", supervisor, "sh", *command]
        with (
            folder.with_suffix(".out").open("w") as out,
            folder.with_suffix(".err").open("w") as err,
        ):
            process = subprocess.Popen(
                command, cwd=folder, stdout=out, stderr=err, start_new_session=True,
                env=os.environ | own | config({"worker": addresses}, "worker", index),
            )  # fmt: skip
        started.append(Host(folder, process))
        return started[-1]

    yield begin
    for host in started:
        if host.process.poll() is None:
            os.killpg(host.process.pid, signal.SIGKILL)
            host.process.wait()


def working_folder(folder: Path, prepared: Path, **changes: Any) -> Path:
    """A checkout with images and their audit, whose networks are tiny."""
    folder.mkdir()
    for name in ("src", "stages", "dvc.yaml", "requirements.txt"):
        (folder / name).symlink_to(ROOT / name)
    shutil.copytree(prepared, folder / "data/prepared")
    audit = folder / "reports/visualize/leaks.json"
    audit.parent.mkdir(parents=True)
    audit.write_text(json.dumps({"data_digest": digest(prepared)}))
    blocks = yaml.safe_load((ROOT / "params.yaml").read_text())
    tiny = {"epochs": 8, "batch_size": 8, "second_seed_epochs": 1}
    blocks["train_scratch"] |= {"widths": [4]} | tiny | changes
    blocks["train_transfer"] |= {"fine_tune_blocks": 1, "weights": "random"} | tiny | changes
    (folder / "params.yaml").write_text(yaml.safe_dump(blocks))
    return folder


def working_folders(folder: Path, prepared: Path, **changes: Any) -> tuple[Path, Path]:
    """Those of a chief and of a worker."""
    return (
        working_folder(folder / "chief", prepared, **changes),
        working_folder(folder / "worker", prepared, **changes),
    )


def two_addresses() -> list[str]:
    return [f"127.0.0.1:{free_port()}" for _ in range(2)]


def lines(stage: str, text: str) -> list[str]:
    """Our own lines; the rest is TensorFlow's."""
    return [line for line in text.splitlines() if line.startswith(f"{stage}: ")]


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def alone(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """The history of one process without a break."""
    folder = working_folder(tmp_path_factory.mktemp("alone") / "host", prepared)
    subprocess.run(
        [sys.executable, "stages/train_scratch.py"],
        cwd=folder, env=os.environ | {"PYTHONPATH": "src"}, check=True, timeout=PATIENCE,
    )  # fmt: skip
    return pd.read_csv(folder / "models/scratch/history.csv")


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize(
    ("victim", "after", "epoch"),
    [
        (1, "scratch epoch 2:", 2),
        (0, "scratch epoch 2:", 2),
        (1, "scratch second seed epoch 1:", 8),  # while the chief saves
    ],
)
def test_a_killed_host_is_started_again_and_all_go_on(
    victim: int, after: str, epoch: int,
    start: Start, alone: pd.DataFrame, prepared: Path, tmp_path: Path,
) -> None:  # fmt: skip
    chief, worker = folders = working_folders(tmp_path, prepared)
    before, addresses = content(worker), two_addresses()
    hosts = [
        start(folder, "train_scratch", addresses, index, SUPERVISOR)
        for index, folder in enumerate(folders)
    ]
    hosts[0].wait_until_said(after)
    [stage] = psutil.Process(hosts[victim].process.pid).children()
    stage.send_signal(signal.SIGKILL)
    assert [host.status() for host in hosts] == [0, 0]

    said, *_ = lines("train_scratch", hosts[1 - victim].said("err"))
    assert said.startswith(f"train_scratch: host {1 - victim} lost another host (")
    resumed = re.findall(r"^scratch: continuing from epoch (\d+) of 8$", hosts[0].said("out"), re.M)
    assert resumed and int(resumed[0]) >= epoch
    assert hosts[1].said("out") == ""
    assert content(worker) == before
    assert not list(chief.glob("models/*.checkpoint"))
    history = pd.read_csv(chief / "models/scratch/history.csv")
    assert history["epoch"].tolist() == [*range(1, 9)]
    for column in ("loss", "val_loss", "learning_rate"):
        assert np.allclose(history[column], alone[column], rtol=0.02), column


@pytest.mark.slow
@pytest.mark.long
def test_a_worker_fine_tunes_from_the_frozen_phase_of_the_chief(
    start: Start, prepared: Path, tmp_path: Path
) -> None:
    chief, worker = folders = working_folders(tmp_path, prepared, epochs=2)
    before, addresses = content(worker), two_addresses()
    hosts = [
        start(folder, "train_transfer", addresses, index) for index, folder in enumerate(folders)
    ]
    assert [host.status() for host in hosts] == [0, 0], hosts[0].said("err")
    history = pd.read_csv(chief / "models/transfer/history.csv")
    assert history["epoch"].tolist() == [0, 1, 2]
    assert content(worker) == before


@pytest.mark.slow
def test_a_worker_with_other_params_says_so_and_trains_nothing(
    start: Start, prepared: Path, tmp_path: Path
) -> None:
    folders = [
        working_folder(tmp_path / "chief", prepared),
        working_folder(tmp_path / "worker", prepared, label_smoothing=0.1),
    ]
    addresses = two_addresses()
    chief, worker = (
        start(folder, "train_scratch", addresses, index) for index, folder in enumerate(folders)
    )
    assert worker.status() == 1
    assert lines("train_scratch", worker.said("err")) == [
        "train_scratch: host 1 has other params, images, code or libraries than the chief"
    ]
    assert chief.status() == HOST_LOST
    assert not (chief.folder / "models/scratch").exists()
