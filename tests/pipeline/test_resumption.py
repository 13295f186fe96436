"""A training killed with SIGKILL goes on where it was, and ends with the same bytes."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from tests.pipeline.clone import Clone, clean_environment

EPOCHS = 3


def start(clone: Clone, model: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["python", f"stages/train_{model}.py"],
        cwd=clone.path, env=clean_environment() | {"PYTHONPATH": "src"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def kill_after(process: subprocess.Popen[str], epoch: int, file: Path) -> None:
    """Kill a training as soon as the checkpoint of an epoch is there, so in a later epoch."""
    while process.poll() is None:
        # The file is replaced at once, so whoever opens it reads one whole state.
        if file.exists():
            with np.load(file) as stored:
                history = json.loads(stored["header"].tobytes())["history"]
            if history[-1]["epoch"] >= epoch:
                break
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def files(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
    }


@pytest.mark.slow
@pytest.mark.parametrize("model", ["scratch", "transfer"])
def test_a_killed_training_ends_with_the_same_bytes_in_the_same_run(
    reproduced: Clone, tmp_path: Path, model: str
) -> None:
    clone = reproduced.copy(tmp_path / "clone")
    clone.set_param("epochs", str(EPOCHS))
    clone.set_param("schedule", "gradual")
    clone.set_param("fine_tune_blocks", "2")
    folder, checkpoint = (clone.path / "models" / name for name in (model, f"{model}.checkpoint"))
    former = files(folder)
    process = start(clone, model)
    kill_after(process, 1, checkpoint / "state.npz")
    assert files(folder) == former
    process = start(clone, model)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    first, *_ = output.splitlines()
    resumed = int(first.removeprefix(f"{model}: continuing from epoch ").split()[0])
    assert first.endswith(f" of {EPOCHS}")
    assert resumed >= 1
    assert f"{model} epoch {resumed}:" not in output
    interrupted = files(folder)
    assert interrupted != former
    assert not checkpoint.exists()

    client = MlflowClient(f"sqlite:///{clone.path}/mlflow.db")
    experiment = client.get_experiment_by_name("pneumonia")
    assert experiment is not None
    query = f"tags.`dvc.stage` = 'train_{model}' and params.epochs = '{EPOCHS}'"
    [run] = client.search_runs([experiment.experiment_id], query)
    assert run.info.status == "FINISHED"
    curve = client.get_metric_history(run.info.run_id, "val_loss")
    before = 0 if model == "transfer" else 1
    assert [point.step for point in curve] == list(range(before, EPOCHS + 1))

    process = start(clone, model)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    assert "continuing" not in output
    assert files(folder) == interrupted
