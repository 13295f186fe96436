"""A clone in which faults are injected, a finished copy of it, and the checks after a fault."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.pipeline.clone import TINY, Clone, clean_environment, make_clone
from tests.pipeline.imports import ROOT

STAGES = (
    "prepare", "visualize", "train_scratch", "train_transfer", "evaluate", "gradcam_report",
    "register",
)  # fmt: skip
EPOCHS = 3
RESUMED = "continuing from epoch"  # printed by a training that has a checkpoint
# For root: run a command as a user who does not own the files and must obey their modes.
AS_A_USER = (
    "setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner",
    "--inh-caps=-dac_override,-dac_read_search,-fowner",
)  # fmt: skip


class SkippedError(Exception):
    """A fault cannot be injected on this machine; the text is the reason."""


@dataclass(frozen=True)
class Outcome:
    """What happened after a fault.

    Attributes:
        message: the line that the user reads.
        recovery: what `dvc repro` did afterwards.
    """

    message: str
    recovery: str


@dataclass(frozen=True)
class Fault:
    """A fault and its check.

    Attributes:
        name: for example "disk full: prepare".
        description: the fault, in a few words.
        inject: injects the fault and checks the outcome; raises AssertionError if a check fails and
            SkippedError if the fault cannot be injected here.
    """

    name: str
    description: str
    inject: Callable[[Workspace], Outcome]


def require(condition: object, message: str) -> None:
    """Like `assert`, but a long message is not shortened."""
    if not condition:
        raise AssertionError(message)


def tree_hash() -> str:
    """SHA-256 of the pipeline: its code, its params and the tiny params of the clone."""
    hashed = hashlib.sha256(f"{sorted(TINY.items())} {EPOCHS}".encode())
    names = ["dvc.yaml", "params.yaml", "requirements.txt"]
    paths = [ROOT / name for name in names]
    for folder in ("src", "stages"):
        paths += sorted(path for path in (ROOT / folder).rglob("*") if path.suffix != ".pyc")
    for path in paths:
        if path.is_file():
            hashed.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return hashed.hexdigest()


class Workspace:
    """The clone `work`, always at the same path, because MLflow stores absolute paths.

    `clean` is a copy of the clone before its first run, `finished` a copy after it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.work, self.clean, self.finished = (
            folder / name for name in ("work", "clean", "finished")
        )
        self.clone = Clone(self.work)

    def make(self) -> None:
        """Run the pipeline once without a fault, unless that was done for the same code."""
        done = self.folder / "tree"
        if done.exists() and done.read_text() == tree_hash() and self.finished.exists():
            return
        done.unlink(missing_ok=True)
        for path in (self.work, self.clean, self.finished):
            shutil.rmtree(path, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        make_clone(self.work).set_param("epochs", str(EPOCHS))
        shutil.copytree(self.work, self.clean, symlinks=True)
        self.clone.repro()
        shutil.copytree(self.work, self.finished, symlinks=True)
        done.write_text(tree_hash())

    def reset(self, *rerun: str, fresh: bool = False) -> None:
        """Restore the finished clone at `work`, or with `fresh` the one before any run.

        The stages in `rerun` keep their outputs, but `dvc repro` runs them again, because they are
        removed from dvc.lock.
        """
        empty(self.work)
        self.work.mkdir(exist_ok=True)
        source = self.clean if fresh else self.finished
        shutil.copytree(source, self.work, symlinks=True, dirs_exist_ok=True)
        lock = self.work / "dvc.lock"
        if rerun:
            content = yaml.safe_load(lock.read_text())
            content["stages"] = {
                name: stage for name, stage in content["stages"].items() if name not in rerun
            }
            lock.write_text(yaml.safe_dump(content, sort_keys=False))

    def run(
        self, *command: str, user: bool = False, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the clone; with `user` it must obey file modes, even for root."""
        prefix = AS_A_USER if user and os.geteuid() == 0 else ()
        return self.clone.run(*prefix, *command, **environment)

    def fails(self, *command: str, says: str, user: bool = False, **environment: str) -> str:
        """Run a command that must fail with a message and without a stack trace.

        Args:
            command: the program and its arguments.
            says: regular expression of the message.
            user: as in `run`.
            environment: additional variables.

        Returns:
            The line of the message.
        """
        ran = self.run(*command, user=user, **environment)
        output = ran.stdout + ran.stderr
        require(ran.returncode != 0, f"it did not fail:\n{output[-3000:]}")
        return find_line(output, says)

    def recovers(self, expected: tuple[str, ...] | None = None, **environment: str) -> str:
        """Run `dvc repro`, which must succeed and leave the state of a run without a fault.

        Args:
            expected: the stages that it must run; None for any.
            environment: additional variables.

        Returns:
            The stages that it ran, in words.
        """
        ran = self.run("dvc", "repro", **environment)
        require(ran.returncode == 0, f"dvc repro failed:\n{(ran.stdout + ran.stderr)[-3000:]}")
        stages = re.findall(r"^Running stage '(\w+)'", ran.stdout, re.MULTILINE)
        require(expected is None or tuple(stages) == expected, f"it ran {stages}, not {expected}")
        self.check()
        resumed = " from its last epoch" if RESUMED in ran.stdout else ""
        return f"runs {', '.join(stages)}{resumed}" if stages else "nothing to do"

    def check(self, store: Path | None = None) -> None:
        """Require the lock and outputs of a run without a fault, and a store in order."""
        lock, expected = ((path / "dvc.lock") for path in (self.work, self.finished))
        require(
            yaml.safe_load(lock.read_text()) == yaml.safe_load(expected.read_text()),
            "dvc.lock differs",
        )
        for top in ("data/prepared", "models", "reports"):
            require(files(self.work / top) == files(self.finished / top), f"files differ in {top}")
        check_store(store or self.work / "mlflow.db")


def find_line(output: str, says: str) -> str:
    """The last line that matches a regular expression; the output must have no stack trace."""
    require("Traceback" not in output, f"a stack trace:\n{output[-4000:]}")
    lines = [line for line in output.splitlines() if re.search(says, line)]
    require(lines, f"no line says {says!r}:\n{output[-3000:]}")
    return lines[-1]


def check_store(file: Path) -> None:
    """Require that no run is open and that the registered model has one version."""
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as database:
        statuses = [row[0] for row in database.execute("SELECT status FROM runs")]
        # MLflow keeps the row of a deleted version.
        stages = database.execute("SELECT current_stage FROM model_versions").fetchall()
        versions = sum(stage != "Deleted_Internal" for (stage,) in stages)
    database.close()
    require(set(statuses) <= {"FINISHED", "FAILED", "KILLED"}, f"runs are {statuses}")
    require("FINISHED" in statuses, f"runs are {statuses}")
    require(versions == 1, f"{versions} versions are registered")


def files(folder: Path) -> dict[str, str]:
    """SHA-256 of all files below a folder, by name."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def empty(folder: Path) -> None:
    """Remove the content of a folder and keep the folder, which may be a mount point."""
    for path in folder.iterdir() if folder.exists() else ():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def flip(path: Path) -> None:
    """Change the byte in the middle of a file, also of a read-only one."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    mode = path.stat().st_mode
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(mode)


def environment(**variables: str) -> dict[str, str]:
    """The environment of a process in the clone."""
    return clean_environment() | variables
