"""Two clean clones on real films end with one lock, though one was killed again and again."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from tests.pipeline.clone import Clone, clean_environment, make_clone

FILMS, KILLS = 400, 5
CHANGES = {
    "source": "folder",
    "path": "data/raw/subset",
    "widths": "[16, 32]",
    "epochs": "12",
    "fine_tune_blocks": "100",
}


def subset(folder: Path) -> None:
    """Every n-th film of the train split, of both classes, and of the test split."""
    source = Path(os.environ["CHEST_XRAY_DIR"])
    for split, share in (("train", 0.75), ("test", 0.25)):
        films = sorted((source / split).rglob("*.jp*g"))
        count = round(FILMS * share)
        for number in range(count):
            film = films[number * len(films) // count]
            place = folder / film.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(film, place)


def process_of(stage: str, clone: Clone) -> int | None:
    """The stage's process, started by `dvc repro` in this clone."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().split(b"\0")
            here = (entry / "cwd").readlink() == clone.path
        except OSError:
            continue
        if here and command[1:2] == [f"stages/{stage}.py".encode()]:
            return int(entry.name)
    return None


def epochs_done(stage: str, clone: Clone) -> int:
    """How many epochs the checkpoint of a training in this clone has."""
    state = clone.path / "models" / f"{stage.removeprefix('train_')}.checkpoint" / "state.npz"
    if not state.exists():
        return 0
    with np.load(state) as stored:
        return int(json.loads(stored["header"].tobytes())["history"][-1]["epoch"])


def kill_while_running(stage: str, clone: Clone, epoch: int, seconds: float) -> bool:
    """`dvc repro` of a stage, killed a while after an epoch; False if it was done before."""
    repro = subprocess.Popen(
        ["dvc", "repro", stage], cwd=clone.path, env=clean_environment(),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    while (pid := process_of(stage, clone)) is None and repro.poll() is None:
        time.sleep(0.02)
    while epochs_done(stage, clone) < epoch and process_of(stage, clone) == pid is not None:
        time.sleep(0.02)
    time.sleep(seconds)
    if killed := pid is not None and process_of(stage, clone) == pid:
        os.kill(pid, signal.SIGKILL)
    output, _ = repro.communicate()
    assert (repro.returncode != 0) == killed, output
    return killed


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.skipif("CHEST_XRAY_DIR" not in os.environ, reason="CHEST_XRAY_DIR is not set")
def test_two_clones_on_real_films_end_alike_though_one_was_killed(tmp_path: Path) -> None:
    clones = []
    for name in ("whole", "killed"):
        clone = make_clone(tmp_path / name)
        subset(clone.path / CHANGES["path"])
        for key, value in CHANGES.items():
            clone.set_param(key, value)
        clones.append(clone)
    whole, killed = clones
    moments = random.Random(0)
    whole.repro()
    killed.repro("visualize")
    for stage in ("train_scratch", "train_transfer"):
        # From before the first epoch on, at any moment of one.
        kills = [
            kill_while_running(stage, killed, epoch, moments.uniform(0, 1))
            for epoch in range(KILLS)
        ]
        assert sum(kills) >= 3
    killed.repro()
    assert (whole.path / "dvc.lock").read_text() == (killed.path / "dvc.lock").read_text()
