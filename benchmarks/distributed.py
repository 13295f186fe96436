"""Compare a training on two hosts with a training in one process: validation AUC by seed.

    PYTHONPATH=src:. python -m benchmarks.distributed [--seeds 7 8 9] [--stages train_scratch ...]

Prepares and audits drawn images. Then it trains each stage with each seed and the shipped params,
once in one process and once in two processes, which communicate over loopback as two hosts do. (The
second seed of a training, which only the checks of heat maps need, has one epoch.) Prints a row for
each: both validation AUCs after the last epoch, and the relative difference of the losses, in the
first epoch and at most. Compare the differences with those between seeds.

Both trainings draw the same augmentation. They differ in the order of sums: the losses agree to
seven digits in the first steps. Adam divides by the size of the gradient, so it amplifies the
difference with every step.
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
    """Print a line for each training and a table for each stage."""
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
                single = _train(Path(temporary), images, stage, seed, hosts=1)
                double = _train(Path(temporary), images, stage, seed, hosts=2)
                difference = ((single["loss"] - double["loss"]).abs() / single["loss"]).dropna()
                row = {
                    "seed": seed,
                    "one process": single["val_auc"].iloc[-1],
                    "two hosts": double["val_auc"].iloc[-1],
                    "loss difference, first epoch": difference.iloc[0],
                    "at most": difference.max(),
                }
                print(f"{stage} {row}", file=sys.stderr, flush=True)
                rows.append(row)
            print(f"{stage}\n{pd.DataFrame(rows).round(4).to_string(index=False)}", flush=True)


def _checkout(folder: Path, changes: dict[str, dict[str, int]]) -> None:
    """A working folder with links to the code, and its own params."""
    folder.mkdir()
    for name in CODE:
        (folder / name).symlink_to(ROOT / name)
    blocks = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for block in ("train_scratch", "train_transfer"):
        blocks[block] |= {"second_seed_epochs": 1, **changes.get(block, {})}
    (folder / "params.yaml").write_text(yaml.safe_dump(blocks), encoding="utf-8")


def _train(parent: Path, images: Path, stage: str, seed: int, hosts: int) -> pd.DataFrame:
    """The history of a training, a row for each epoch."""
    folders = [parent / f"{stage}-{seed}-{hosts}-{index}" for index in range(hosts)]
    addresses = [f"127.0.0.1:{_free_port()}" for _ in folders] if hosts > 1 else []
    started = []
    for index, folder in enumerate(folders):
        _checkout(folder, {stage: {"seed": seed}})
        for name in ("data", "reports"):
            (folder / name).symlink_to(images / name)
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        started.append(_start(folder, stage, TF_CONFIG=json.dumps(config)))
    _wait(started)
    [history] = folders[0].glob("models/*/history.csv")
    epochs = pd.read_csv(history)
    for folder in folders:
        shutil.rmtree(folder)
    return epochs


def _start(folder: Path, stage: str, **variables: str) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": "src", "PYTHONDONTWRITEBYTECODE": "1"} | variables
    return subprocess.Popen(
        [sys.executable, f"stages/{stage}.py"], cwd=folder, env=environment,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip


def _wait(started: list[subprocess.Popen[bytes]]) -> None:
    statuses = [process.wait() for process in started]
    if any(statuses):
        sys.exit("a stage failed; see its message above")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


if __name__ == "__main__":
    main()
