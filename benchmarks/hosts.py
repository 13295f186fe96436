"""Whether two hosts train what one process trains: validation AUC by seed, both networks.

    PYTHONPATH=src:. python -m benchmarks.hosts [--seeds 7 8 9] [--stages train_scratch ...]

Prepares and audits the drawn images; then for each stage and seed trains with the shipped params
once in one process and once in two, which meet on loopback as two hosts do (the second seed, which
only heat maps need, has one epoch). A row each: the validation AUC of either after the last epoch,
and how far their losses are apart, as shares, in the first epoch and at most. How much seeds differ
is the yardstick. Both draw the same augmentation, so what sets them apart is the order in which
sums are made: seven digits agree in the first steps, and Adam, which divides by the gradient's
size, makes more of the eighth with every step.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import yaml

ROOT = Path(__file__).parents[1]
CODE = ("src", "stages", "dvc.yaml", "requirements.txt")


def main() -> None:
    """Print a line a training and a table a stage."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 8, 9])
    parser.add_argument("--stages", nargs="+", default=["train_scratch", "train_transfer"])
    arguments = parser.parse_args()
    with TemporaryDirectory() as temporary:
        images = Path(temporary) / "images"
        _checkout(images, {})
        for stage in ("prepare", "visualize"):
            _wait([_start(images, stage)])
        for stage in arguments.stages:
            rows = []
            for seed in arguments.seeds:
                one = _train(Path(temporary), images, stage, seed, hosts=1)
                two = _train(Path(temporary), images, stage, seed, hosts=2)
                apart = ((one["loss"] - two["loss"]).abs() / one["loss"]).dropna()
                row = {
                    "seed": seed,
                    "one process": one["val_auc"].iloc[-1],
                    "two hosts": two["val_auc"].iloc[-1],
                    "loss apart, first epoch": apart.iloc[0],
                    "at most": apart.max(),
                }
                print(f"{stage} {row}", file=sys.stderr, flush=True)
                rows.append(row)
            print(f"{stage}\n{pd.DataFrame(rows).round(4).to_string(index=False)}", flush=True)


def _checkout(folder: Path, changes: dict[str, dict[str, int]]) -> None:
    """A working folder with links to the code, and params of its own."""
    folder.mkdir()
    for name in CODE:
        (folder / name).symlink_to(ROOT / name)
    blocks = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for block in ("train_scratch", "train_transfer"):
        blocks[block] |= {"second_seed_epochs": 1, **changes.get(block, {})}
    (folder / "params.yaml").write_text(yaml.safe_dump(blocks), encoding="utf-8")


def _train(parent: Path, images: Path, stage: str, seed: int, hosts: int) -> pd.DataFrame:
    """The history of a training: a row an epoch."""
    folders = [parent / f"{stage}-{seed}-{hosts}-{index}" for index in range(hosts)]
    addresses = [f"127.0.0.1:{_free_port()}" for _ in folders] if hosts > 1 else []
    started = []
    for index, folder in enumerate(folders):
        _checkout(folder, {stage: {"seed": seed}})
        for kept in ("data", "reports"):
            (folder / kept).symlink_to(images / kept)
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        started.append(_start(folder, stage, TF_CONFIG=json.dumps(config)))
    _wait(started)
    [history] = folders[0].glob("models/*/history.csv")
    found = pd.read_csv(history)
    for folder in folders:
        shutil.rmtree(folder)
    return found


def _start(folder: Path, stage: str, **variables: str) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": "src", "PYTHONDONTWRITEBYTECODE": "1"} | variables
    return subprocess.Popen(
        [sys.executable, f"stages/{stage}.py"], cwd=folder, env=environment,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip


def _wait(started: list[subprocess.Popen[bytes]]) -> None:
    statuses = [process.wait() for process in started]
    if any(statuses):
        sys.exit("a stage failed; what it said is above")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


if __name__ == "__main__":
    main()
