"""Full disks, and outputs that cannot be written."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.faults.workspace import STAGES, Fault, Outcome, SkippedError, Workspace, files, require

# Free bytes on the disk: less than the stage writes.
FREE = {
    "prepare": 100_000, "visualize": 200_000, "train_scratch": 150_000, "train_transfer": 2_000_000,
    "evaluate": 200_000, "gradcam_report": 50_000, "register": 400_000,
}  # fmt: skip


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    """Mount something at a folder, and unmount it afterwards."""
    if os.geteuid() != 0:
        raise SkippedError("mounting needs root")
    mount = subprocess.run(["mount", *options, str(folder)], capture_output=True, check=False)
    if mount.returncode != 0:
        raise SkippedError(f"mount does not work here: {mount.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def resize(folder: Path, size: int) -> None:
    """Change the size of a tmpfs, in bytes."""
    subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)


def used(folder: Path) -> int:
    """Bytes in use on the disk of a folder."""
    state = os.statvfs(folder)
    return (state.f_blocks - state.f_bfree) * state.f_frsize


def full(stage: str, workspace: Workspace) -> Outcome:
    workspace.work.mkdir(exist_ok=True)
    with mounted(workspace.work, "-t", "tmpfs", "-o", "size=1g", "tmpfs"):
        workspace.reset(stage)
        resize(workspace.work, used(workspace.work) + FREE[stage])
        line = workspace.fails(
            "dvc", "repro", says=f"^{stage}: .*(disk|database).* full.*: free some"
        )
        for top in ("data/prepared", "models", "reports"):
            kept, expected = files(workspace.work / top), files(workspace.finished / top)
            require(expected.items() <= kept.items(), f"previous outputs in {top} are lost")
        resize(workspace.work, 2**30)
        recovery = workspace.recovers()
        require(stage in recovery, f"it {recovery}")
        return Outcome(line, recovery)


def artifacts_full(workspace: Workspace) -> Outcome:
    workspace.reset("register")
    runs = workspace.work / "mlruns"
    with mounted(runs, "-t", "tmpfs", "-o", "size=300k", "tmpfs"):
        line = workspace.fails("dvc", "repro", says="^register: disk full.*: free some")
    return Outcome(line, workspace.recovers(("register",)))


def not_writable(workspace: Workspace) -> Outcome:
    workspace.reset("evaluate")
    reports = workspace.work / "reports"
    for path in (*reports.rglob("*"), reports):
        path.chmod(0o555 if path.is_dir() else 0o444)
    line = workspace.fails(
        "python", "stages/evaluate.py", user=True, PYTHONPATH="src",
        says="^evaluate: permission denied at reports/evaluate.*: give this user",
    )  # fmt: skip
    for path in (reports, *reports.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return Outcome(line, workspace.recovers(("evaluate",)))


def read_only_mount(workspace: Workspace) -> Outcome:
    workspace.reset("train_scratch")
    models = str(workspace.work / "models")
    with mounted(workspace.work / "models", "--bind", models):
        subprocess.run(["mount", "-o", "remount,bind,ro", models], check=True)
        # DVC stops before the stage starts, with its own message.
        workspace.fails(
            "dvc", "repro", says="failed to reproduce 'train_scratch': .*Read-only file"
        )
        line = workspace.fails(
            "python", "stages/train_scratch.py", PYTHONPATH="src",
            says="^train_scratch: read-only disk.*: mount it",
        )  # fmt: skip
    return Outcome(line, workspace.recovers(("train_scratch",)))


def immutable(workspace: Workspace) -> Outcome:
    workspace.reset("visualize")
    folder = str(workspace.work / "reports/visualize")
    if subprocess.run(["chattr", "+i", folder], capture_output=True, check=False).returncode:
        raise SkippedError("chattr +i does not work here")
    try:
        line = workspace.fails("dvc", "repro", says="^visualize: not permitted .*: give this user")
    finally:
        subprocess.run(["chattr", "-i", folder], check=True)
    return Outcome(line, workspace.recovers(("visualize",)))


FAULTS = [
    *(
        Fault(
            f"disk full: {stage}",
            f"{FREE[stage] // 1000} kB free on the disk, less than `{stage}` writes",
            partial(full, stage),
        )
        for stage in STAGES
    ),
    Fault("disk full: artifacts", "the disk of MLflow's artifacts is full", artifacts_full),
    Fault("read-only: modes", "reports/ is not writable for the user", not_writable),
    Fault("read-only: mount", "models/ is on a disk mounted read-only", read_only_mount),
    Fault("read-only: immutable", "`chattr +i reports/visualize`", immutable),
]
