"""Clean clones of the repository, with params for a tiny phantom."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from tests.pipeline.imports import ROOT

# Small enough for seconds a stage: 60 images at 64 px, one epoch.
TINY = {
    "images": "60",
    "size": "64",
    "validation": "0.3",
    "widths": "[8, 16]",
    "epochs": "1",
    "fine_tune_blocks": "1",
    "bootstrap": "100",
    "images_per_class": "2",
    "images_per_group": "2",
    "second_seed_epochs": "1",
    "check_images": "10",
    "randomisations": "1",
    # So small a network has learnt next to nothing: its maps may be like any other's.
    "max_rank_correlation": "1",
}


@dataclass(frozen=True)
class Clone:
    """A working copy of the repository at `path`."""

    path: Path

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command there, with this Python's tools; its output is text."""
        return subprocess.run(
            command, cwd=self.path, env=clean_environment() | environment,
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    def repro(self, *arguments: str, **environment: str) -> list[str]:
        """`dvc repro` must succeed; the stages that it ran, in order."""
        ran = self.run("dvc", "repro", *arguments, **environment)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return re.findall(r"^Running stage '(\w+)'", ran.stdout, re.MULTILINE)

    def set_param(self, key: str, value: str) -> None:
        """Give each `key:` line of params.yaml another value."""
        params = self.path / "params.yaml"
        text, count = re.subn(
            rf"^( *{key}:) .*$", rf"\g<1> {value}", params.read_text(), flags=re.MULTILINE
        )
        assert count, key
        params.write_text(text)

    def copy(self, path: Path) -> Clone:
        """Another working copy with the same outputs, cache and store."""
        shutil.copytree(self.path, path, symlinks=True)
        return Clone(path)


def clean_environment() -> dict[str, str]:
    """This process's environment with its own Python first, no tracking settings, no outer make."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MLFLOW_", "DVC_", "PYTHONPATH", "MAKE", "MFLAGS"))
    }
    tools = Path(sys.executable).parent
    return kept | {
        "PATH": f"{tools}{os.pathsep}{kept['PATH']}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DVC_NO_ANALYTICS": "true",
    }


def make_clone(path: Path) -> Clone:
    """A clean clone with the working tree's files, committed or not, and tiny params."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in listed.stdout.splitlines():
        # A lock, from a `make repro` before the tests, would be of other params.
        if (ROOT / name).is_file() and name != "dvc.lock":
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, path / name)
    clone = Clone(path)
    for key, value in TINY.items():
        clone.set_param(key, value)
    for command in (
        ["git", "init", "--quiet"],
        ["git", "add", "."],
        ["git", "-c", "user.name=test", "-c", "user.email=test@example.org",
         "commit", "--quiet", "-m", "Begin"],
    ):  # fmt: skip
        assert clone.run(*command).returncode == 0
    return clone


@pytest.fixture(scope="session")
def reproduced(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Clone:
    """A clone after `dvc repro`; read it, and `copy` it before changing anything."""
    folder = tmp_path_factory.getbasetemp()
    if hasattr(request.config, "workerinput"):
        folder = folder.parent  # that of all workers of a parallel run, who share the clone
    done = folder / "reproduced.done"
    with FileLock(folder / "reproduced.lock"):
        if not done.exists():
            make_clone(folder / "reproduced").repro()
            done.touch()
    return Clone(folder / "reproduced")
