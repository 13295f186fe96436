"""Changed bytes: in the working folder, in DVC's cache, in a checkpoint."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import time
from functools import partial
from pathlib import Path

from tests.faults.workspace import Fault, Outcome, Workspace, environment, find_line, flip, require

GRAPH, WEIGHTS = Path("models/scratch/graph.onnx"), Path("models/scratch/weights.weights.h5")
SAYS = "{}: damaged, its SHA-256 is not the recorded one; `make repair`"
TRAINING = ("train_scratch",)


def cached(workspace: Workspace, output: Path) -> Path:
    """The file of an output in DVC's cache."""
    md5 = hashlib.md5((workspace.finished / output).read_bytes(), usedforsecurity=False).hexdigest()
    return workspace.work / ".dvc/cache/files/md5" / md5[:2] / md5[2:]


def repair(workspace: Workspace) -> str:
    """Run `pneumonia repair`; return its output."""
    ran = workspace.run("python", "-m", "pneumonia", "repair", PYTHONPATH="src")
    require(ran.returncode == 0, ran.stdout + ran.stderr)
    return ran.stdout


def in_workspace(output: Path, stage: str, workspace: Workspace) -> Outcome:
    workspace.reset()
    flip(workspace.work / output)
    line = workspace.fails(
        "python", f"stages/{stage}.py", PYTHONPATH="src", says=SAYS.format(f"{stage}: {output}")
    )
    return Outcome(line, workspace.recovers(TRAINING))


def in_cache(output: Path, stage: str, workspace: Workspace) -> Outcome:
    workspace.reset(stage)
    flip(cached(workspace, output))
    (workspace.work / output).unlink()
    ran = workspace.run("dvc", "checkout", str(output))
    require(ran.returncode == 0, ran.stdout + ran.stderr)
    line = workspace.fails("dvc", "repro", says=SAYS.format(f"{stage}: {output}"))
    printed = repair(workspace)
    require(f"build/damaged/{output}" in printed and "2 files moved" in printed, printed)
    return Outcome(line, f"after `make repair`: {workspace.recovers((*TRAINING, stage))}")


def in_cache_alone(workspace: Workspace) -> Outcome:
    workspace.reset()
    flip(cached(workspace, GRAPH))
    recovery = workspace.recovers(())
    printed = repair(workspace)
    require("1 file moved" in printed or "1 files moved" in printed, printed)
    return Outcome("nothing, until it is checked out", f"{recovery}; {workspace.recovers()}")


def checkpoint(how: str, workspace: Workspace) -> Outcome:
    workspace.reset("train_transfer")
    state = workspace.work / "models/transfer.checkpoint/state.npz"
    training = subprocess.Popen(
        ["dvc", "repro"], cwd=workspace.work, env=environment(), start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while training.poll() is None and not state.exists():
        time.sleep(0.02)
    os.killpg(training.pid, signal.SIGKILL)
    training.wait()
    require(state.exists(), "no checkpoint was written")
    if how == "byte":
        flip(state)
    else:
        state.write_bytes(state.read_bytes()[: state.stat().st_size // 2])
        state.with_suffix(".writing").write_bytes(state.read_bytes())
    ran = workspace.run("dvc", "repro")
    output = ran.stdout + ran.stderr
    require(ran.returncode == 0, output[-3000:])
    line = find_line(output, "state.npz: damaged, training starts again")
    workspace.check()
    return Outcome(line, "trains from the beginning, in the same run")


FAULTS = [
    Fault("damage: graph", f"a byte of `{GRAPH}` changed",
          partial(in_workspace, GRAPH, "evaluate")),
    Fault("damage: weights", f"a byte of `{WEIGHTS}` changed",
          partial(in_workspace, WEIGHTS, "gradcam_report")),
    Fault("damage: cached graph", "the same in DVC's cache, then checked out",
          partial(in_cache, GRAPH, "evaluate")),
    Fault("damage: cached weights", "the same in DVC's cache, then checked out",
          partial(in_cache, WEIGHTS, "gradcam_report")),
    Fault("damage: cache alone", "a byte of the graph in DVC's cache changed", in_cache_alone),
    Fault("damage: checkpoint", "a byte in the state of an unfinished training changed",
          partial(checkpoint, "byte")),
    Fault("damage: half a checkpoint", "the state of an unfinished training truncated to half",
          partial(checkpoint, "half")),
]  # fmt: skip
