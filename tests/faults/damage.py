"""Bytes that changed: in the workspace, in DVC's cache, in a checkpoint."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import time
from functools import partial
from pathlib import Path

from tests.faults.bench import Bench, Fault, Outcome, environment, flip, need, said

GRAPH, WEIGHTS = Path("models/scratch/graph.onnx"), Path("models/scratch/weights.weights.h5")
SAYS = "{}: damaged, its SHA-256 is not the recorded one; `make repair`"
TRAINING = ("train_scratch",)


def cached(bench: Bench, output: Path) -> Path:
    """An output's file in DVC's cache."""
    md5 = hashlib.md5((bench.finished / output).read_bytes(), usedforsecurity=False).hexdigest()
    return bench.work / ".dvc/cache/files/md5" / md5[:2] / md5[2:]


def in_workspace(output: Path, stage: str, bench: Bench) -> Outcome:
    bench.begin()
    flip(bench.work / output)
    line = bench.fails(
        "python", f"stages/{stage}.py", PYTHONPATH="src", says=SAYS.format(f"{stage}: {output}")
    )
    return Outcome(line, bench.heals(TRAINING))


def in_cache(output: Path, stage: str, bench: Bench) -> Outcome:
    bench.begin(stage)
    flip(cached(bench, output))
    (bench.work / output).unlink()
    ran = bench.run("dvc", "checkout", str(output))
    need(ran.returncode == 0, ran.stdout + ran.stderr)
    line = bench.fails("dvc", "repro", says=SAYS.format(f"{stage}: {output}"))
    ran = bench.run("python", "-m", "pneumonia", "mend", PYTHONPATH="src")
    told = ran.stdout + ran.stderr
    need(f"build/damaged/{output}: was not" in told and "2 files moved" in told, told)
    return Outcome(line, f"after `make repair`: {bench.heals((*TRAINING, stage))}")


def unseen(bench: Bench) -> Outcome:
    bench.begin()
    flip(cached(bench, GRAPH))
    after = bench.heals(())
    ran = bench.run("python", "-m", "pneumonia", "mend", PYTHONPATH="src")
    told = ran.stdout + ran.stderr
    need("1 files moved" in told, told)
    return Outcome("nothing, until it is checked out", f"{after}; {bench.heals()}")


def checkpoint(how: str, bench: Bench) -> Outcome:
    bench.begin("train_transfer")
    state = bench.work / "models/transfer.checkpoint/state.npz"
    training = subprocess.Popen(
        ["dvc", "repro"], cwd=bench.work, env=environment(), start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while training.poll() is None and not state.exists():
        time.sleep(0.02)
    os.killpg(training.pid, signal.SIGKILL)
    training.wait()
    need(state.exists(), "no checkpoint was written")
    if how == "byte":
        flip(state)
    else:
        state.write_bytes(state.read_bytes()[: state.stat().st_size // 2])
        state.with_suffix(".writing").write_bytes(state.read_bytes())
    ran = bench.run("dvc", "repro")
    told = ran.stdout + ran.stderr
    need(ran.returncode == 0, told[-3000:])
    line = said(told, "state.npz: damaged, starting over")
    bench.check()
    return Outcome(line, "trains from the beginning, in the same run")


FAULTS = [
    Fault("damage: graph", f"a byte of `{GRAPH}` changed",
          partial(in_workspace, GRAPH, "evaluate")),
    Fault("damage: weights", f"a byte of `{WEIGHTS}` changed",
          partial(in_workspace, WEIGHTS, "gradcam_report")),
    Fault("damage: cached graph", "the same in DVC's cache, and checked out",
          partial(in_cache, GRAPH, "evaluate")),
    Fault("damage: cached weights", "the same in DVC's cache, and checked out",
          partial(in_cache, WEIGHTS, "gradcam_report")),
    Fault("damage: cache alone", "a byte of the graph in DVC's cache changed", unseen),
    Fault("damage: checkpoint", "a byte of an unfinished training's state changed",
          partial(checkpoint, "byte")),
    Fault("damage: half a checkpoint", "an unfinished training's state cut to its half",
          partial(checkpoint, "half")),
]  # fmt: skip
