"""The speed of `prepare`, and whether its memory grows with the number of images.

    PYTHONPATH=src python benchmarks/preparing.py [--images N] [--times K] [FOLDER ...]

Draws N phantom images into a folder. Prepares that folder, and a folder with K copies of it (hard
links with other names and patients), and each FOLDER in the layout of the source `folder`, each in
a new process. On a machine with other work compare the CPU times.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
from joblib import Parallel, cpu_count, delayed

from pneumonia.core.config import DataParams, load_params
from pneumonia.datasets.manifest import LABELS
from pneumonia.datasets.phantom import draw
from pneumonia.datasets.prepare import prepare
from pneumonia.datasets.sources import open_source
from pneumonia.images.decoding import encode_png

SEED = 7
ROOT = Path(__file__).parents[1]
MIB = 2**20


def main() -> None:
    """Print a table, a row for each folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--images", type=int, default=400, help="images to draw (400)")
    parser.add_argument("--times", type=int, default=8, help="how many copies of them (8)")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER")
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.folders[0])))
        return
    model = next(
        (line.partition(": ")[2] for line in Path("/proc/cpuinfo").read_text().splitlines()
         if line.startswith("model name")), platform.machine(),
    )  # fmt: skip
    load = os.getloadavg()[0]
    print(
        f"{model}, {cpu_count()} of its cores, Python {platform.python_version()}, load {load:.1f}"
    )
    header = f"{'images':>7}{'s':>8}{'images/s':>9}{'CPU s':>8}{'main MiB':>10}{'workers MiB':>13}"
    print(f"{'data':<34}{header}")
    with tempfile.TemporaryDirectory() as scratch:
        single, repeated = Path(scratch, "single"), Path(scratch, "repeated")
        Parallel(n_jobs=cpu_count())(
            delayed(save)(single, index) for index in range(arguments.images)
        )
        repeat(single, repeated, arguments.times)
        folders = {
            f"phantom, {arguments.images} images": single,
            f"the same {arguments.times} times": repeated,
        }
        folders |= {folder.name: folder for folder in arguments.folders}
        for name, folder in folders.items():
            ran = subprocess.run(
                [sys.executable, __file__, "--measure", folder],
                stdout=subprocess.PIPE, text=True, check=True,
            )  # fmt: skip
            result = json.loads(ran.stdout.splitlines()[-1])
            rate = result["images"] / result["seconds"]
            print(
                f"{name:<34}{result['images']:>7,}{result['seconds']:>8.1f}{rate:>9.0f}"
                f"{result['cpu']:>8.1f}{result['main']:>10.0f}{result['workers']:>13.0f}"
            )


def save(folder: Path, index: int) -> None:
    """Draw an image into a folder with the Kaggle layout."""
    image = draw(SEED, index)
    parent = folder / image.split / LABELS[image.label]
    parent.mkdir(parents=True, exist_ok=True)
    name = f"phantom-{image.patient:05d}-{index:05d}.png"
    (parent / name).write_bytes(encode_png(image.pixels))


def repeat(source: Path, folder: Path, times: int) -> None:
    """Hard-link each image of a folder several times, each time for other patients."""
    for file in sorted(source.rglob("*.png")):
        parent = folder / file.parent.relative_to(source)
        parent.mkdir(parents=True, exist_ok=True)
        for number in range(times):
            os.link(file, parent / f"{number}-{file.name}")


def measure(folder: Path) -> dict[str, float]:
    """Prepare a folder with the params of `params.yaml`: seconds, and peak memory in MiB."""
    params, data = load_params(ROOT / "params.yaml"), source(folder)
    peaks = {"main": 0.0, "workers": 0.0}
    process, done = psutil.Process(), threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            peaks["main"] = max(peaks["main"], memory([process]))
            peaks["workers"] = max(peaks["workers"], memory(process.children(recursive=True)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with tempfile.TemporaryDirectory() as out:
            before, start = cpu_seconds(process), time.perf_counter()
            images = open_source(data)
            prepare(images, params.prepare, Path(out))
            seconds = time.perf_counter() - start
            cpu = cpu_seconds(process) - before
    finally:
        done.set()
        watcher.join()
    return {"images": len(images), "seconds": seconds, "cpu": cpu, **peaks}


def source(folder: Path) -> DataParams:
    """The block `data` for a folder of images. The name of a drawn image contains its patient."""
    pattern = r"(?P<patient>.*phantom-\d+)-" if any(folder.rglob("*phantom-*")) else ""
    return load_params(ROOT / "params.yaml").data.model_copy(
        update={"source": "folder", "path": str(folder), "patient_pattern": pattern}
    )


def memory(processes: list[psutil.Process]) -> float:
    """Sum of the resident memory of processes, in MiB; shared pages count for each process."""
    total = 0
    for process in processes:
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total / MIB


def cpu_seconds(process: psutil.Process) -> float:
    """CPU seconds of a process and its children so far."""
    processes = [process, *process.children(recursive=True)]
    return sum(sum(each.cpu_times()[:2]) for each in processes)


if __name__ == "__main__":
    main()
