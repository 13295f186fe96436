"""`kill -9` of `dvc repro` and all its processes at random moments."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from functools import partial

from tests.faults.workspace import Fault, Outcome, Workspace, environment

CHAINS, KILLS = 4, 5
LONGEST = 40  # seconds from the start of `dvc repro` to its kill, at most


def kill_after(workspace: Workspace, seconds: float, *command: str) -> bool:
    """Start a command and kill its whole process group after a time.

    Returns:
        Whether the command was still running.
    """
    process = subprocess.Popen(
        command, cwd=workspace.work, env=environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True
    return False


def chain(seed: int, workspace: Workspace) -> Outcome:
    workspace.reset(fresh=True)
    moments = random.Random(seed)
    killed: list[int] = []
    while len(killed) < KILLS:
        seconds = moments.uniform(1, LONGEST)
        if kill_after(workspace, seconds, "dvc", "repro"):
            killed.append(round(seconds))
        else:  # it ended before the kill
            workspace.check()
            workspace.reset(fresh=True)
    recovery = workspace.recovers()
    return Outcome(f"nothing (killed after {', '.join(map(str, killed))} s)", recovery)


CREATE_STORE = "from pneumonia.tracking.store import connect; import mlflow; print(); connect()"


def store_created(workspace: Workspace) -> Outcome:
    workspace.reset("register")
    for file in workspace.work.glob("mlflow.db*"):
        file.unlink()
    moments = random.Random(0)
    for _ in range(3):
        process = subprocess.Popen(
            ["python", "-c", CREATE_STORE], cwd=workspace.work, env=environment(PYTHONPATH="src"),
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert process.stdout
        process.stdout.readline()
        time.sleep(moments.uniform(0.2, 2))
        process.kill()
        process.communicate()
    return Outcome("nothing", workspace.recovers())


FAULTS = [
    *(
        Fault(
            f"kill -9: chain {seed}",
            f"`dvc repro` in a clean clone, killed with all its processes {KILLS} times at random "
            f"moments (seed {seed})",
            partial(chain, seed),
        )
        for seed in range(1, CHAINS + 1)
    ),
    Fault(
        "kill -9: new store", "killed three times while MLflow's tables are created", store_created
    ),
]
