"""The environment.

`pip install` of what is locked, with hashes, into a new virtual environment, with the packages in
pip's cache; against the same without a lock: for the pipeline of the libraries that a script for
the same task begins with, for the server of what the Keras flavour of `mlflow models serve` needs.
Gigabytes are written and, where the cache is cold, fetched first.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

from benchmarks.rows import Row, Setting, seconds, take_turns

# What is installed, from which lock, and what instead.
WAYS = {
    "the pipeline's": ("requirements.txt", "tensorflow mlflow dvc scikit-learn matplotlib"),
    "the server's": ("requirements-serve.txt", "mlflow tensorflow"),
}


def measure(setting: Setting) -> list[Row]:
    """Seconds and megabytes of each; the turn that fills the cache does not count."""
    sizes: dict[str, list[float]] = {}

    def install(name: str, what: list[str]) -> float:
        folder = setting.scratch / "environment"
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet"]
        pip += ["--disable-pip-version-check", *what]
        spent = seconds(lambda: subprocess.run(pip, check=True))
        sizes.setdefault(name, []).append(megabytes(folder))
        shutil.rmtree(folder)
        return spent

    ways = {}
    for name, (lock, unlocked) in WAYS.items():
        ways[name] = partial(install, name, ["--require-hashes", "-r", lock])
        ways[unlocked] = partial(install, unlocked, unlocked.split())
    turns = max(1, setting.turns // 2)
    found = take_turns(ways, turns)
    rows = []
    for name, (_, unlocked) in WAYS.items():
        rival = f"`pip install {unlocked}`"
        ours, theirs = sizes[name][-turns:], sizes[unlocked][-turns:]
        rows += [
            Row(f"{name}, time", "s", found[name], rival, found[unlocked]),
            Row(f"{name}, size", "MB", ours, rival, theirs),
        ]
    return rows


def megabytes(folder: Path) -> float:
    """On disk, of a folder's files."""
    return sum(
        os.lstat(Path(place) / name).st_blocks * 512 / 1e6
        for place, _, names in os.walk(folder)
        for name in names
    )
