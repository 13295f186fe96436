"""A clone in which faults are put, a finished copy of it, and what must hold afterwards."""

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

STAGES = ("prepare", "visualize", "train_scratch", "train_transfer", "evaluate", "gradcam_report")
EPOCHS = 3
# A user other than the files' owner, who may not pass over modes as root may.
LIKE_A_USER = (
    "setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner",
    "--inh-caps=-dac_override,-dac_read_search,-fowner",
)  # fmt: skip


class SkippedError(Exception):
    """A fault cannot be put here; its text says why."""


@dataclass(frozen=True)
class Outcome:
    """What became of a fault.

    Attributes:
        seen: the line that a person reads.
        after: what `dvc repro` did afterwards.
    """

    seen: str
    after: str


@dataclass(frozen=True)
class Fault:
    """A fault and its check.

    Attributes:
        name: "disk full: prepare".
        does: what is done.
        inject: does it and checks; raises AssertionError where something does not hold, and
            SkippedError where it cannot be done.
    """

    name: str
    does: str
    inject: Callable[[Bench], Outcome]


def need(holds: object, text: str) -> None:
    """As `assert`, with all of a long text."""
    if not holds:
        raise AssertionError(text)


def tree() -> str:
    """SHA-256 of all that decides what the pipeline does, and of the tiny params."""
    hashed = hashlib.sha256(f"{sorted(TINY.items())} {EPOCHS}".encode())
    names = ["dvc.yaml", "params.yaml", "requirements.txt"]
    files = [ROOT / name for name in names]
    for folder in ("src", "stages"):
        files += sorted(file for file in (ROOT / folder).rglob("*") if file.suffix != ".pyc")
    for file in files:
        if file.is_file():
            hashed.update(f"{file.relative_to(ROOT)}\0".encode() + file.read_bytes())
    return hashed.hexdigest()


class Bench:
    """The clone at `work`, always at the same path, as MLflow keeps absolute ones.

    `clean` is that clone before its first run, `finished` after it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.work, self.clean, self.finished = (
            folder / name for name in ("work", "clean", "finished")
        )
        self.clone = Clone(self.work)

    def make(self) -> None:
        """Run the pipeline once, undisturbed, unless it was."""
        told = self.folder / "tree"
        if told.exists() and told.read_text() == tree() and self.finished.exists():
            return
        told.unlink(missing_ok=True)
        for path in (self.work, self.clean, self.finished):
            shutil.rmtree(path, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        make_clone(self.work).set_param("epochs", str(EPOCHS))
        shutil.copytree(self.work, self.clean, symlinks=True)
        self.clone.repro()
        shutil.copytree(self.work, self.finished, symlinks=True)
        told.write_text(tree())

    def begin(self, *again: str, fresh: bool = False) -> None:
        """Have the finished clone at `work`, with stages to run again; or the one before any run.

        Of a stage to run again all outputs are there, and dvc.lock has nothing of it.
        """
        empty(self.work)
        self.work.mkdir(exist_ok=True)
        source = self.clean if fresh else self.finished
        shutil.copytree(source, self.work, symlinks=True, dirs_exist_ok=True)
        lock = self.work / "dvc.lock"
        if again:
            content = yaml.safe_load(lock.read_text())
            content["stages"] = {
                name: one for name, one in content["stages"].items() if name not in again
            }
            lock.write_text(yaml.safe_dump(content, sort_keys=False))

    def run(
        self, *command: str, user: bool = False, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the clone; `user`: without root's passing over modes."""
        before = LIKE_A_USER if user and os.geteuid() == 0 else ()
        return self.clone.run(*before, *command, **environment)

    def fails(self, *command: str, says: str, user: bool = False, **environment: str) -> str:
        """Run what must fail, without a trace, with a line in which `says` is found; that line."""
        ran = self.run(*command, user=user, **environment)
        told = ran.stdout + ran.stderr
        need(ran.returncode != 0, f"it did not fail:\n{told[-3000:]}")
        return said(told, says)

    def heals(self, expected: tuple[str, ...] | None = None, **environment: str) -> str:
        """`dvc repro` ends as if nothing had been; the stages that it ran, in words."""
        ran = self.run("dvc", "repro", **environment)
        need(ran.returncode == 0, f"dvc repro failed:\n{(ran.stdout + ran.stderr)[-3000:]}")
        stages = re.findall(r"^Running stage '(\w+)'", ran.stdout, re.MULTILINE)
        need(expected is None or tuple(stages) == expected, f"it ran {stages}, not {expected}")
        self.check()
        resumed = " from its last epoch" if "going on from epoch" in ran.stdout else ""
        return f"runs {', '.join(stages)}{resumed}" if stages else "nothing to do"

    def check(self, store: Path | None = None) -> None:
        """The same lock and outputs as undisturbed, no leftovers, a store in order."""
        lock, wanted = ((path / "dvc.lock") for path in (self.work, self.finished))
        need(
            yaml.safe_load(lock.read_text()) == yaml.safe_load(wanted.read_text()),
            "another dvc.lock",
        )
        for top in ("data/prepared", "models", "reports"):
            need(files(self.work / top) == files(self.finished / top), f"other files in {top}")
        check_store(store or self.work / "mlflow.db")


def said(told: str, says: str) -> str:
    """The line in which `says`, a regular expression, is found; there must be no trace."""
    need("Traceback" not in told, f"a trace:\n{told[-4000:]}")
    lines = [line for line in told.splitlines() if re.search(says, line)]
    need(lines, f"no line says {says!r}:\n{told[-3000:]}")
    return lines[-1]


def check_store(file: Path) -> None:
    """No open runs, and one version of the registered model."""
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as database:
        statuses = [row[0] for row in database.execute("SELECT status FROM runs")]
        # MLflow keeps the row of one that was deleted.
        stages = database.execute("SELECT current_stage FROM model_versions").fetchall()
        versions = sum(stage != "Deleted_Internal" for (stage,) in stages)
    database.close()
    need(set(statuses) <= {"FINISHED", "FAILED", "KILLED"}, f"runs are {statuses}")
    need("FINISHED" in statuses, f"runs are {statuses}")
    need(versions == 1, f"{versions} versions are registered")


def files(folder: Path) -> dict[str, str]:
    """SHA-256 of all files below a folder, by name."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def empty(folder: Path) -> None:
    """Remove what is in a folder, and leave the folder, which may be a mount."""
    for path in folder.iterdir() if folder.exists() else ():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def flip(path: Path) -> None:
    """Change a byte in the middle of a file, whatever its mode."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    mode = path.stat().st_mode
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(mode)


def environment(**given: str) -> dict[str, str]:
    """Of a process in the clone."""
    return clean_environment() | given
