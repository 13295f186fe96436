"""`kill -9` of all of `dvc repro` at random moments."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from functools import partial

from tests.faults.bench import Bench, Fault, Outcome, environment

CHAINS, KILLS = 4, 5
LONGEST = 40  # s from the start of a repro to its death, at most


def kill_after(bench: Bench, seconds: float, *command: str) -> bool:
    """Start a command in a process group of its own and kill all of it; whether it still ran."""
    process = subprocess.Popen(
        command, cwd=bench.work, env=environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True
    return False


def chain(seed: int, bench: Bench) -> Outcome:
    bench.begin(fresh=True)
    moments = random.Random(seed)
    killed: list[int] = []
    while len(killed) < KILLS:
        after = moments.uniform(1, LONGEST)
        if kill_after(bench, after, "dvc", "repro"):
            killed.append(round(after))
        else:  # it had come to its end before
            bench.check()
            bench.begin(fresh=True)
    after = bench.heals()
    return Outcome(f"nothing (killed after {', '.join(map(str, killed))} s)", after)


MAKE_STORE = "from pneumonia.tracking.store import connect; import mlflow; print(); connect()"


def store_made(bench: Bench) -> Outcome:
    bench.begin("evaluate")
    for file in bench.work.glob("mlflow.db*"):
        file.unlink()
    moments = random.Random(0)
    for _ in range(3):
        process = subprocess.Popen(
            ["python", "-c", MAKE_STORE], cwd=bench.work, env=environment(PYTHONPATH="src"),
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert process.stdout
        process.stdout.readline()
        time.sleep(moments.uniform(0.2, 2))
        process.kill()
        process.communicate()
    return Outcome("nothing", bench.heals())


FAULTS = [
    *(
        Fault(
            f"kill -9: chain {seed}",
            f"`dvc repro` from nothing, killed with all its processes {KILLS} times at random "
            f"moments (seed {seed})",
            partial(chain, seed),
        )
        for seed in range(1, CHAINS + 1)
    ),
    Fault("kill -9: new store", "killed three times while MLflow's tables are made", store_made),
]
