"""The environment.

The task is `pip install` of the locked packages, with hashes, into a new virtual environment. The
packages are in pip's cache. The alternatives have no lock: for the pipeline, the libraries of a
simple script for the same task; for the server, the libraries that `mlflow models serve` needs for
a Keras model. This measurement writes gigabytes, and downloads them first if they are not in the
cache.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

from benchmarks.measurement import Row, Setting, seconds, take_turns

# The lock, and the packages of the alternative.
ENVIRONMENTS = {
    "the pipeline": ("requirements.txt", "tensorflow mlflow dvc scikit-learn matplotlib"),
    "the server": ("requirements-serve.txt", "mlflow tensorflow"),
}


def measure(setting: Setting) -> list[Row]:
    """Seconds and megabytes, without the turn that fills the cache."""
    sizes: dict[str, list[float]] = {}

    def install(name: str, arguments: list[str]) -> float:
        folder = setting.scratch / "environment"
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet"]
        pip += ["--disable-pip-version-check", *arguments]
        spent = seconds(lambda: subprocess.run(pip, check=True))
        sizes.setdefault(name, []).append(megabytes(folder))
        shutil.rmtree(folder)
        return spent

    functions = {}
    for name, (lock, unlocked) in ENVIRONMENTS.items():
        functions[name] = partial(install, name, ["--require-hashes", "-r", lock])
        functions[unlocked] = partial(install, unlocked, unlocked.split())
    turns = max(1, setting.turns // 2)
    values = take_turns(functions, turns)
    rows = []
    for name, (_, unlocked) in ENVIRONMENTS.items():
        alternative = f"`pip install {unlocked}`"
        ours, theirs = sizes[name][-turns:], sizes[unlocked][-turns:]
        rows += [
            Row(f"{name}, time", "s", values[name], alternative, values[unlocked]),
            Row(f"{name}, size", "MB", ours, alternative, theirs),
        ]
    return rows


def megabytes(folder: Path) -> float:
    """Space of a folder's files on disk, in MB."""
    return sum(
        os.lstat(Path(place) / name).st_blocks * 512 / 1e6
        for place, _, names in os.walk(folder)
        for name in names
    )
