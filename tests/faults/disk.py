"""Disks that are full, and outputs that may not be written."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.faults.bench import STAGES, Bench, Fault, Outcome, SkippedError, files, need

# What is left to a stage, bytes: less than it writes.
LEFT = dict(zip(STAGES, (100_000, 200_000, 150_000, 2_000_000, 400_000, 300_000), strict=True))


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    """Something mounted at a folder, and away again."""
    if os.geteuid() != 0:
        raise SkippedError("mounting needs root")
    made = subprocess.run(["mount", *options, str(folder)], capture_output=True, check=False)
    if made.returncode != 0:
        raise SkippedError(f"no mounting here: {made.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def size(folder: Path, size: int) -> None:
    """Give a tmpfs another size, bytes."""
    subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)


def used(folder: Path) -> int:
    state = os.statvfs(folder)
    return (state.f_blocks - state.f_bfree) * state.f_frsize


def full(stage: str, bench: Bench) -> Outcome:
    bench.work.mkdir(exist_ok=True)
    with mounted(bench.work, "-t", "tmpfs", "-o", "size=1g", "tmpfs"):
        bench.begin(stage)
        size(bench.work, used(bench.work) + LEFT[stage])
        line = bench.fails("dvc", "repro", says=f"^{stage}: .*(disk|database).* full.*: free some")
        for top in ("data/prepared", "models", "reports"):
            kept, wanted = files(bench.work / top), files(bench.finished / top)
            need(wanted.items() <= kept.items(), f"former outputs in {top} are lost")
        size(bench.work, 2**30)
        after = bench.heals()
        need(stage in after, f"it {after}")
        return Outcome(line, after)


def artifacts_full(bench: Bench) -> Outcome:
    bench.begin("evaluate")
    runs = bench.work / "mlruns"
    kept = bench.folder / "mlruns"
    shutil.rmtree(kept, ignore_errors=True)
    with mounted(runs, "-t", "tmpfs", "-o", "size=300k", "tmpfs"):
        line = bench.fails("dvc", "repro", says="^evaluate: disk full.*: free some")
    return Outcome(line, bench.heals(("evaluate",)))


def not_writable(bench: Bench) -> Outcome:
    bench.begin("evaluate")
    reports = bench.work / "reports"
    for path in (*reports.rglob("*"), reports):
        path.chmod(0o555 if path.is_dir() else 0o444)
    line = bench.fails(
        "python", "stages/evaluate.py", user=True, PYTHONPATH="src",
        says="^evaluate: permission denied at reports/evaluate.*: give this user",
    )  # fmt: skip
    for path in (reports, *reports.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return Outcome(line, bench.heals(("evaluate",)))


def read_only_mount(bench: Bench) -> Outcome:
    bench.begin("train_scratch")
    models = str(bench.work / "models")
    with mounted(bench.work / "models", "--bind", models):
        subprocess.run(["mount", "-o", "remount,bind,ro", models], check=True)
        # DVC itself stops before the stage, in a line of its own.
        bench.fails("dvc", "repro", says="failed to reproduce 'train_scratch': .*Read-only file")
        line = bench.fails(
            "python", "stages/train_scratch.py", PYTHONPATH="src",
            says="^train_scratch: read-only disk.*: mount it",
        )  # fmt: skip
    return Outcome(line, bench.heals(("train_scratch",)))


def immutable(bench: Bench) -> Outcome:
    bench.begin("visualize")
    folder = str(bench.work / "reports/visualize")
    if subprocess.run(["chattr", "+i", folder], capture_output=True, check=False).returncode:
        raise SkippedError("chattr +i does not work here")
    try:
        line = bench.fails("dvc", "repro", says="^visualize: not permitted .*: give this user")
    finally:
        subprocess.run(["chattr", "-i", folder], check=True)
    return Outcome(line, bench.heals(("visualize",)))


FAULTS = [
    *(
        Fault(
            f"disk full: {stage}",
            f"a disk with {LEFT[stage] // 1000} kB left, less than `{stage}` writes",
            partial(full, stage),
        )
        for stage in STAGES
    ),
    Fault("disk full: registering", "no room where MLflow keeps artifacts", artifacts_full),
    Fault("read-only: modes", "reports/ without the right to write, as a user", not_writable),
    Fault("read-only: mount", "models/ on a disk that is mounted read-only", read_only_mount),
    Fault("read-only: immutable", "`chattr +i reports/visualize`", immutable),
]
