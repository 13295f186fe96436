"""Two clean clones on real images end with one lock, though one was killed again and again."""

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

IMAGES, EPOCHS = 400, 12
# Each after this epoch, from before the first one on; the last two in the second seed's training.
KILLS = (0, 1, 5, EPOCHS + 1, EPOCHS + 2)
CHANGES = {
    "source": "folder",
    "path": "data/raw/subset",
    "widths": "[16, 32]",
    "epochs": str(EPOCHS),
    "fine_tune_blocks": "100",
}


def subset(folder: Path) -> None:
    """Every n-th image of the train split, of both classes, and of the test split."""
    source = Path(os.environ["CHEST_XRAY_DIR"])
    for split, share in (("train", 0.75), ("test", 0.25)):
        images = sorted((source / split).rglob("*.jp*g"))
        count = round(IMAGES * share)
        for number in range(count):
            image = images[number * len(images) // count]
            place = folder / image.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(image, place)


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
    """How many epochs the checkpoints of a training in this clone have, both seeds together."""
    model, done = stage.removeprefix("train_"), 0
    for name in (model, f"{model}.second_seed"):
        try:
            with np.load(clone.path / "models" / f"{name}.checkpoint" / "state.npz") as stored:
                done += int(json.loads(stored["header"].tobytes())["history"][-1]["epoch"])
        except FileNotFoundError:  # not begun, or done
            continue
    return done


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
@pytest.mark.long
@pytest.mark.real
@pytest.mark.skipif("CHEST_XRAY_DIR" not in os.environ, reason="CHEST_XRAY_DIR is not set")
def test_two_clones_on_real_images_end_alike_though_one_was_killed(tmp_path: Path) -> None:
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
        kills = [kill_while_running(stage, killed, epoch, moments.uniform(0, 1)) for epoch in KILLS]
        assert sum(kills[:3]) >= 2
        assert any(kills[3:])
    killed.repro()
    assert (whole.path / "dvc.lock").read_text() == (killed.path / "dvc.lock").read_text()
