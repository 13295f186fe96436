"""The queue after its worker was killed, with the real DVC and the real pipeline."""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from tests.pipeline.clone import Clone
from tests.tracking.agreement import disagreements

PATIENCE = 900  # seconds for what takes a minute on an idle machine


def start(clone: Clone, jobs: int = 1) -> str:
    ran = clone.run("python", "-m", "pneumonia", "queue", "--jobs", str(jobs), PYTHONPATH="src")
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def states(clone: Clone) -> dict[str, str]:
    """By experiment: Queued, Running, Success or Failed."""
    ran = clone.run("dvc", "queue", "status")
    rows = re.findall(
        r"^[0-9a-f]{7} +(\S+) .* (Queued|Running|Success|Failed)\s*$", ran.stdout, re.MULTILINE
    )
    return dict(rows)


def wait_until(clone: Clone, condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        now = states(clone)
        failed = [name for name, state in now.items() if state == "Failed"]
        assert not failed, clone.run("dvc", "queue", "logs", failed[0]).stdout
        assert time.monotonic() < end, now
        time.sleep(1)


def executions(clone: Clone) -> list[str]:
    """The command lines of the experiments that run."""
    lines = [" ".join(one.info["cmdline"] or ()) for one in psutil.process_iter(["cmdline"])]
    return [line for line in lines if "exec-run" in line and str(clone.path) in line]


def workers(clone: Clone) -> list[psutil.Process]:
    """The workers of this clone's queue: they work where its queue lies."""
    place = str(clone.path / ".dvc/tmp/exps/celery")
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if "queue-worker" in (process.info["cmdline"] or ())
        and place in os.path.realpath(f"/proc/{process.pid}/fd/1")  # its log
    ]


def kill(clone: Clone, whole: bool) -> None:
    """Kill the clone's workers at once; `whole`: with all that they run."""
    for worker in workers(clone):
        family = worker.children(recursive=True) if whole else []
        for process in [worker, *family]:
            os.kill(process.pid, signal.SIGKILL)


def commit(clone: Clone) -> None:
    """Commit dvc.lock, as a project of one's own does."""
    for command in (
        ["git", "add", "dvc.lock"],
        ["git", "-c", "user.name=test", "-c", "user.email=test@example.org",
         "commit", "--quiet", "-m", "Lock"],
    ):  # fmt: skip
        assert clone.run(*command).returncode == 0


@pytest.fixture(scope="module")
def locked(reproduced: Clone, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    clone = reproduced.copy(tmp_path_factory.mktemp("locked") / "clone")
    commit(clone)
    return clone


@pytest.mark.slow
def test_killed_workers_lose_no_experiment_and_mlflow_agrees(locked: Clone, tmp_path: Path) -> None:
    clone = locked.copy(tmp_path / "clone")
    # Both workers' first experiments make the store, at once and in temporary copies.
    (clone.path / "mlflow.db").unlink()
    shutil.rmtree(clone.path / "mlruns")
    grid = clone.run(
        "dvc", "exp", "run", "--queue",
        "-S", "train_scratch.learning_rate=0.001,0.003",
        "-S", "evaluate.calibration=none,temperature",
    )  # fmt: skip
    assert grid.stdout.count("Queued experiment") == 4, grid.stderr
    assert "workers started: 2" in start(clone, jobs=2)
    wait_until(clone, lambda: len(executions(clone)) == 2)
    kill(clone, whole=True)
    lost = [name for name, state in states(clone).items() if state == "Running"]
    assert len(lost) == 2
    said = start(clone)
    assert all(f"{name}: its worker died; queued again" in said for name in lost)
    # Once more, and this time the experiment goes on without its worker.
    wait_until(clone, lambda: len(executions(clone)) == 1)
    kill(clone, whole=False)
    [orphan] = [name for name, state in states(clone).items() if state == "Running"]
    assert f"{orphan}: has ended; collected" in start(clone)
    wait_until(clone, lambda: list(states(clone).values()) == ["Success"] * 4)

    compared, wrong = disagreements(clone)
    assert wrong == []
    assert compared > 1000
    client = MlflowClient(f"sqlite:///{clone.path}/mlflow.db")
    every = client.search_runs([one.experiment_id for one in client.search_experiments()])
    assert {run.info.status for run in every} <= {"FINISHED", "KILLED"}
    # Nothing is kept in the temporary copies, which are gone.
    places = [Path(run.info.artifact_uri) for run in every if run.info.status == "FINISHED"]
    assert all((place / "evaluate").is_dir() for place in places)
    assert all(place.is_relative_to(clone.path / "mlruns") for place in places)
    assert not list((clone.path / ".dvc/tmp/exps").glob("tmp*"))


def test_with_nothing_queued_nothing_starts(locked: Clone) -> None:
    assert start(locked) == "0 queued; workers started: 0\n"


def test_a_number_of_jobs_that_is_none_is_refused(locked: Clone) -> None:
    ran = locked.run("python", "-m", "pneumonia", "queue", "--jobs", "0", PYTHONPATH="src")
    assert ran.returncode == 1
    assert ran.stderr == "queue: --jobs: should be 1 or more, not 0\n"


def test_a_shallow_clone_is_refused(locked: Clone, tmp_path: Path) -> None:
    shallow = Clone(tmp_path / "shallow")
    address = f"file://{locked.path}"
    cloned = locked.run("git", "clone", "--quiet", "--depth", "1", address, str(shallow.path))
    assert cloned.returncode == 0, cloned.stderr
    ran = shallow.run("python", "-m", "pneumonia", "queue", PYTHONPATH="src")
    assert ran.returncode == 1
    [line] = ran.stderr.splitlines()
    assert line.startswith("queue: this clone is shallow")
