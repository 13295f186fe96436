"""The environment.

`pip install` of requirements.txt, locked with hashes, into a new virtual environment, with the
packages in pip's cache; against the same without a lock, of the libraries that a script for the
same task begins with. Gigabytes are written and, where the cache is cold, fetched: by name alone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

from benchmarks.rows import Row, Setting, seconds, take_turns

UNLOCKED = ("tensorflow", "mlflow", "dvc", "scikit-learn", "matplotlib")


def measure(setting: Setting) -> list[Row]:
    """Seconds and megabytes of both; the turn that fills the cache does not count."""
    sizes: dict[str, list[float]] = {"ours": [], "theirs": []}
    ways = {
        "ours": ["--require-hashes", "-r", "requirements.txt"],
        "theirs": list(UNLOCKED),
    }

    def install(name: str) -> float:
        folder = setting.scratch / name
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet"]
        pip += ["--disable-pip-version-check", *ways[name]]
        spent = seconds(lambda: subprocess.run(pip, check=True))
        sizes[name].append(megabytes(folder))
        shutil.rmtree(folder)
        return spent

    turns = max(1, setting.turns // 2)
    found = take_turns({name: partial(install, name) for name in ways}, turns)
    what, rival = "from the lock", f"`pip install {' '.join(UNLOCKED)}`"
    ours, theirs = (sizes[name][-turns:] for name in ("ours", "theirs"))
    return [
        Row(f"{what}, time", "s", found["ours"], rival, found["theirs"]),
        Row(f"{what}, size", "MB", ours, rival, theirs),
    ]


def megabytes(folder: Path) -> float:
    """On disk, of a folder's files."""
    return sum(
        os.lstat(Path(place) / name).st_blocks * 512 / 1e6
        for place, _, names in os.walk(folder)
        for name in names
    )
