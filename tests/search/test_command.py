"""`pneumonia search` on the command line, and killed during a real training."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from tests.pipeline.clone import Clone, clean_environment, make_clone
from tests.pipeline.imports import ROOT

WITHOUT = """
import sys
for heavy in ("tensorflow", "keras", "mlflow", "optuna"):
    sys.modules[heavy] = None  # an import of it fails
from pneumonia.cli import main
sys.argv = ["pneumonia", "search", *sys.argv[1:]]
sys.exit(main())
"""
SPACE = """
trials: 4
seed: 7
pruning: {startup: 1, warm_up: 2}
train_scratch:
  learning_rate: {low: 0.0001, high: 0.05, log: true}
  widths: {choices: [[8, 16], [8, 24]]}
  augment.rotation: {low: 0.0, high: 20.0}
train_transfer:
  head_l2: {low: 0.002, high: 0.2, log: true}
"""
EPOCHS = 4


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT, *arguments],
        cwd=ROOT, env=clean_environment() | {"PYTHONPATH": f"{ROOT}/src"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["--help"], 0, "block of params that is searched"),
        (["prepare"], 2, "invalid choice: 'prepare'"),
        (["train_scratch"], 1, "search: Optuna is not installed; `make setup-search` installs it"),
    ],
)
def test_help_and_mistakes_need_nothing_heavy(arguments: list[str], status: int, told: str) -> None:
    ran = run(*arguments)
    assert ran.returncode == status
    assert told in ran.stdout + ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--trials", "0"], "search: --trials: should be 1 or more, not 0"),
        (["--space", "nowhere.yaml"], "search: nowhere.yaml: no such file"),
        (["--params", "nowhere.yaml"], "search: nowhere.yaml: no such file"),
    ],
)
def test_what_is_wrong_is_said_before_an_image_is_read(arguments: list[str], told: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "pneumonia", "search", "train_scratch", *arguments],
        cwd=ROOT, env=clean_environment() | {"PYTHONPATH": f"{ROOT}/src"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1].startswith(told)


def begin(clone: Clone) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["python", "-m", "pneumonia", "search", "train_scratch", "--space", "space.yaml"],
        cwd=clone.path, env=clean_environment() | {"PYTHONPATH": "src"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.long
def test_a_search_killed_in_a_trial_continues_and_its_best_can_be_repeated(tmp_path: Path) -> None:
    (tmp_path / "clone").mkdir()
    clone = make_clone(tmp_path / "clone")
    clone.set_param("epochs", str(EPOCHS))
    (clone.path / "space.yaml").write_text(SPACE)
    clone.repro("visualize")
    whole = clone.copy(tmp_path / "whole")

    state = clone.path / "search/train_scratch/trial.checkpoint/state.npz"
    process = begin(clone)
    while process.poll() is None:
        if state.exists():
            with np.load(state) as stored:
                if json.loads(stored["header"].tobytes())["history"][-1]["epoch"] >= 2:
                    break
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    process = begin(clone)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    assert re.search(
        rf"^trial: continuing from epoch [2-{EPOCHS}] of {EPOCHS}$", output, re.MULTILINE
    )
    assert "trial 1 epoch 1:" not in output

    process = begin(whole)
    expected, errors = process.communicate()
    assert process.returncode == 0, errors
    report = output[output.index("train_scratch: 4 trials") :]
    assert report == expected[expected.index("train_scratch: 4 trials") :]

    client = MlflowClient(f"sqlite:///{clone.path}/mlflow.db")
    [experiment] = client.search_experiments(filter_string="name = 'pneumonia'")
    found = client.search_runs([experiment.experiment_id])
    [parent] = [entry for entry in found if entry.info.run_name == "search train_scratch"]
    children = [
        child for child in found if child.data.tags.get("mlflow.parentRunId") == parent.info.run_id
    ]
    # The killed trial continued its run.
    assert len(children) == 4
    assert {entry.info.status for entry in (parent, *children)} == {"FINISHED"}

    best = re.search(r"^best, trial (\d): val_auc (\S+)$", report, re.MULTILINE)
    assert best
    last = report.splitlines()[-1]
    settings = shlex.split(last) if last.startswith("dvc") else ["dvc", "exp", "run"]
    ran = clone.run(*settings, "train_scratch")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    metrics = json.loads((clone.path / "models/scratch/metrics.json").read_text())
    assert f"{metrics['val_auc']:.4f}" == best[2]
    process = begin(clone)
    output, _ = process.communicate()
    assert output.startswith("continuing after 4 trials\ntrain_scratch: 4 trials")
