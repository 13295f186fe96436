"""How fast `prepare` is, and whether its memory grows with the number of images.

    PYTHONPATH=src python benchmarks/preparing.py [--images N] [--times K] [FOLDER ...]

Draws N phantoms into a folder once, then prepares that folder and one that holds it K times, by
hard links under other names and with other patients; and every FOLDER in the layout of the source
`folder`. One fresh process each. On a machine with other work, CPU time is what to compare.
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
    """Print a table, a row a folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--images", type=int, default=400, help="phantoms to draw (400)")
    parser.add_argument("--times", type=int, default=8, help="how often to repeat them (8)")
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
    busy = os.getloadavg()[0]
    print(
        f"{model}, {cpu_count()} of its cores, Python {platform.python_version()}, load {busy:.1f}"
    )
    heads = f"{'images':>7}{'s':>8}{'images/s':>9}{'CPU s':>8}{'main MiB':>10}{'workers MiB':>13}"
    print(f"{'data':<34}{heads}")
    with tempfile.TemporaryDirectory() as scratch:
        once, often = Path(scratch, "once"), Path(scratch, "often")
        Parallel(n_jobs=cpu_count())(
            delayed(save)(once, index) for index in range(arguments.images)
        )
        repeat(once, often, arguments.times)
        named = {
            f"phantom, {arguments.images} images": once,
            f"the same {arguments.times} times": often,
        }
        named |= {folder.name: folder for folder in arguments.folders}
        for name, folder in named.items():
            ran = subprocess.run(
                [sys.executable, __file__, "--measure", folder],
                stdout=subprocess.PIPE, text=True, check=True,
            )  # fmt: skip
            found = json.loads(ran.stdout.splitlines()[-1])
            rate = found["images"] / found["seconds"]
            print(
                f"{name:<34}{found['images']:>7,}{found['seconds']:>8.1f}{rate:>9.0f}"
                f"{found['cpu']:>8.1f}{found['main']:>10.0f}{found['workers']:>13.0f}"
            )


def save(folder: Path, index: int) -> None:
    """Draw an image into a folder of the Kaggle layout."""
    image = draw(SEED, index)
    place = folder / image.split / LABELS[image.label]
    place.mkdir(parents=True, exist_ok=True)
    name = f"phantom-{image.patient:05d}-{index:05d}.png"
    (place / name).write_bytes(encode_png(image.pixels))


def repeat(source: Path, folder: Path, times: int) -> None:
    """Hard-link every image of a folder several times, each time as other patients."""
    for file in sorted(source.rglob("*.png")):
        place = folder / file.parent.relative_to(source)
        place.mkdir(parents=True, exist_ok=True)
        for number in range(times):
            os.link(file, place / f"{number}-{file.name}")


def measure(folder: Path) -> dict[str, float]:
    """Prepare a folder as `params.yaml` has it; seconds, and peak memory in MiB."""
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
    """The block `data` for a folder of images; who is on a drawn one, its name says."""
    pattern = r"(?P<patient>.*phantom-\d+)-" if any(folder.rglob("*phantom-*")) else ""
    return load_params(ROOT / "params.yaml").data.model_copy(
        update={"source": "folder", "path": str(folder), "patient_pattern": pattern}
    )


def memory(processes: list[psutil.Process]) -> float:
    """Resident memory of all together, MiB; pages that they share count once for each."""
    total = 0
    for process in processes:
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total / MIB


def cpu_seconds(process: psutil.Process) -> float:
    """CPU time of a process and its workers so far."""
    everyone = [process, *process.children(recursive=True)]
    return sum(sum(one.cpu_times()[:2]) for one in everyone)


if __name__ == "__main__":
    main()
