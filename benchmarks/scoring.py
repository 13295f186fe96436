"""The speed of scoring many images, and whether memory grows with the number of images.

- *loop*: one process decodes images (`images.decoding.decode`) and runs the graph in ONNX Runtime
  on one thread: no warnings, no rows, no files;
- *loop with warnings*: the same with the warnings that `score` always writes;
- *N threads*: all of `pneumonia score`, from the first image to the last part file;
- *Ray, N workers*: the same with `--ray`, without starting the cluster (option `--ray`).

All are measured in turns on the same images, `--repeats` times. The first table has rates by the
clock and by the CPU time of the process and its workers, each with median and range. N cores can at
best reach N times the rate of the loop. On a machine with other work compare the CPU times. The
second table has the peak of resident memory for `--some` images and for `--many`, ten times as many
(hard links).

After `make repro`: PYTHONPATH=src:. python -m benchmarks.scoring [--ray]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from benchmarks.preparing import cpu_seconds, memory
from pneumonia.inference.bundle import ModelFiles
from pneumonia.scoring.score import Counts

MODEL = "models:/pneumonia-chest-xray@champion"
WORKERS = (1, 2)
PART = 100  # images in a part file


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, default=Path("data/prepared/images"))
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--some", type=int, default=2000)
    parser.add_argument("--many", type=int, default=20_000)
    parser.add_argument("--ray", action="store_true", help="measure Ray, too")
    parser.add_argument("--measure", nargs=2, metavar=("HOW", "FOLDER"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        how, folder = given.measure
        print(json.dumps(measure(how, Path(folder), given.model)))
        return
    load = os.getloadavg()[0]
    print(f"{processor()}, {len(os.sched_getaffinity(0))} cores, load {load:.1f}")
    with tempfile.TemporaryDirectory() as scratch:
        some, many = Path(scratch, "some"), Path(scratch, "many")
        link(given.images, some, given.some)
        ways = ["loop", "loop with warnings", *(f"{n} threads" for n in WORKERS)]
        ways += [f"Ray, {n} workers" for n in WORKERS] if given.ray else []
        found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
        for _ in range(given.repeats):
            for way in ways:
                found[way].append(measure_in_new_process(way, some, given.model))
        print(f"{given.some:,} images, median of {given.repeats} [range]")
        print(f"{'':<22}{'images/s':>22}{'CPU ms an image':>22}{'of bare, by CPU':>18}")
        bare = statistics.median(one["cpu"] / one["images"] for one in found["bare"])
        for way, ones in found.items():
            rates = [one["images"] / one["seconds"] for one in ones]
            costs = [1000 * one["cpu"] / one["images"] for one in ones]
            share = 1000 * bare / statistics.median(costs)
            print(f"{way:<22}{spread(rates, 0):>22}{spread(costs, 2):>22}{share:>17.0%}")
        link(given.images, many, given.many)
        print(f"{'peak MiB':<22}{f'{given.some:,} images':>22}{f'{given.many:,} images':>22}")
        for way in ways[3:]:
            peaks = [found[way][0], measure_in_new_process(way, many, given.model)]
            print(f"{way:<22}" + "".join(f"{memory_text(peak):>22}" for peak in peaks))


def link(source: Path, folder: Path, count: int) -> None:
    """Fill a folder with so many images, hard links to those there are."""
    folder.mkdir()
    images = sorted(source.glob("*.png"))
    for number in range(count):
        os.link(images[number % len(images)], folder / f"{number:06d}.png")


def measure_in_new_process(way: str, folder: Path, model: str) -> dict[str, float]:
    """Measure one way of scoring in its own process."""
    command = [sys.executable, "-m", "benchmarks.scoring", "--model", model]
    result = subprocess.run(
        [*command, "--measure", way, str(folder)], stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, float] = json.loads(result.stdout.splitlines()[-1])
    return found


def measure(way: str, folder: Path, model: str) -> dict[str, float]:
    """Score a folder in one way: images, seconds, CPU seconds, peaks of memory in MiB.

    The time before the first result, for starting workers and loading the model, does not count.
    """
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    from pneumonia.inference.bundle import fetch_model
    from pneumonia.scoring.images import list_images
    from pneumonia.scoring.score import Job, open_job, score_here, score_on_ray

    images, files = list_images(str(folder)), fetch_model(model)
    with tempfile.TemporaryDirectory() as out, watched() as peaks:
        if way.startswith("loop"):
            names = [folder / name for name in images.names.to_pylist()]
            return peaks | timed(loop(files, names, "warnings" in way), peaks)
        number = int(way.removeprefix("Ray, ").split()[0])
        job = Job(images, files, out, PART, False)
        parts = open_job(job)
        if not way.startswith("Ray"):
            return peaks | timed(score_here(job, parts, number), peaks)
        from ray.cluster_utils import Cluster

        node = {"num_cpus": number, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=node)
        try:
            return peaks | timed(score_on_ray(job, parts, cluster.address), peaks)
        finally:
            cluster.shutdown()


def loop(files: ModelFiles, names: list[Path], with_warnings: bool) -> Iterator[Counts]:
    """A simple loop on one core."""
    from pneumonia.images.decoding import decode
    from pneumonia.inference.bundle import load_files
    from pneumonia.inference.warnings import warn

    model = load_files(files, 1)
    graph, one_image = model.predictor.graph, Counter(["image"])
    for name in names:
        payload = name.read_bytes()
        decoded = decode(payload, graph.size)
        if with_warnings:
            warn(payload, decoded, model.predictor.plausibility)
        graph.run(decoded.pixels[None, ..., None], on_one_core=True)
        yield one_image


def timed(results: Iterator[Counts], peaks: dict[str, float]) -> dict[str, float]:
    """Images, seconds and CPU seconds of all processes, from the first result to the last."""
    process = psutil.Process()
    next(results)
    before, started = cpu_seconds(process), time.perf_counter()
    images = sum(some.total() for some in results)
    seconds = time.perf_counter() - started
    # Workers may end with the last result; their CPU time is then known from `watched` only.
    cpu = max(cpu_seconds(process), peaks["cpu"]) - before
    return {"images": images, "seconds": seconds, "cpu": cpu}


@contextmanager
def watched() -> Iterator[dict[str, float]]:
    """Peaks of resident memory in MiB, of this process and of its children, and CPU seconds."""
    peaks = {"main": 0.0, "workers": 0.0, "cpu": 0.0}
    process, done = psutil.Process(), threading.Event()

    def watch() -> None:
        while not done.wait(0.2):
            peaks["main"] = max(peaks["main"], memory([process]))
            peaks["workers"] = max(peaks["workers"], memory(process.children(recursive=True)))
            with suppress(psutil.NoSuchProcess):
                peaks["cpu"] = max(peaks["cpu"], cpu_seconds(process))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peaks
    finally:
        done.set()
        watcher.join()


def spread(values: list[float], digits: int) -> str:
    """Median and range."""
    low, median, high = (f(values) for f in (min, statistics.median, max))
    return f"{median:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def memory_text(peak: dict[str, float]) -> str:
    """Peak memory of the process, and of its workers if it has any."""
    workers = f" + {peak['workers']:.0f}" if peak["workers"] else ""
    return f"{peak['main']:.0f}{workers}"


def processor() -> str:
    """The name of the processor."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.partition(": ")[2] for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


if __name__ == "__main__":
    main()
