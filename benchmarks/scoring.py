"""How fast images are scored in number, against the bare loop, and whether memory grows with them.

- *bare*: one process decodes an image (`data.image.decode`) and runs its graph in ONNX Runtime on
  one thread, and nothing else: no warnings, no rows, no files;
- *bare, with warnings*: the same, and the doubts about the image, which `score` always writes;
- *N threads*: `pneumonia score`, all of it from the first image to the last part file;
- *Ray, N workers*: the same with `--ray`, the cluster's start apart (with `--ray`).

All take turns on the same images, `--repeats` times: rates by the clock and by the CPU time that the
process and its workers used, the median and the range. The bare loop's rate times N is what N cores
could do. On a machine with other work CPU time is what to compare. Then `--many` images, ten times
as many as `--some`, by hard links: the peak of resident memory of each.

PYTHONPATH=src:. python -m benchmarks.scoring [--ray], after `make repro`
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
PART = 100  # images


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
    parser.add_argument("--ray", action="store_true", help="on Ray too")
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
        ways = ["bare", "bare, with warnings", *(f"{n} threads" for n in WORKERS)]
        ways += [f"Ray, {n} workers" for n in WORKERS] if given.ray else []
        found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
        for _ in range(given.repeats):
            for way in ways:
                found[way].append(apart(way, some, given.model))
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
            peaks = [found[way][0], apart(way, many, given.model)]
            print(f"{way:<22}" + "".join(f"{told(peak):>22}" for peak in peaks))


def link(source: Path, folder: Path, count: int) -> None:
    """Fill a folder with so many images, hard links to those there are."""
    folder.mkdir()
    images = sorted(source.glob("*.png"))
    for number in range(count):
        os.link(images[number % len(images)], folder / f"{number:06d}.png")


def apart(way: str, folder: Path, model: str) -> dict[str, float]:
    """Measure one way in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.scoring", "--model", model]
    ran = subprocess.run(
        [*command, "--measure", way, str(folder)], stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    return found


def measure(way: str, folder: Path, model: str) -> dict[str, float]:
    """Score a folder in one way: images, seconds, CPU seconds, peaks in MiB.

    What comes before the first result, starting workers and loading the model, is not counted.
    """
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    from pneumonia.inference.bundle import fetch_model
    from pneumonia.scoring.images import list_images
    from pneumonia.scoring.score import Job, open_job, score_here, score_on_ray

    images, files = list_images(str(folder)), fetch_model(model)
    with tempfile.TemporaryDirectory() as out, watched() as seen:
        if way.startswith("bare"):
            names = [folder / name for name in images.names.to_pylist()]
            return seen | timed(bare(files, names, "warnings" in way), seen)
        number = int(way.removeprefix("Ray, ").split()[0])
        job = Job(images, files, out, PART, False)
        left = open_job(job)
        if not way.startswith("Ray"):
            return seen | timed(score_here(job, left, number), seen)
        from ray.cluster_utils import Cluster

        node = {"num_cpus": number, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=node)
        try:
            return seen | timed(score_on_ray(job, left, cluster.address), seen)
        finally:
            cluster.shutdown()


def bare(files: ModelFiles, names: list[Path], with_warnings: bool) -> Iterator[Counts]:
    """The loop that anybody would write, on one core."""
    from pneumonia.images.decoding import decode
    from pneumonia.inference.bundle import load_files
    from pneumonia.inference.warnings import warn

    model = load_files(files, 1)
    graph, one = model.predictor.graph, Counter(["image"])
    for name in names:
        payload = name.read_bytes()
        decoded = decode(payload, graph.size)
        if with_warnings:
            warn(payload, decoded, model.predictor.plausibility)
        graph.run(decoded.pixels[None, ..., None], on_one_core=True)
        yield one


def timed(results: Iterator[Counts], seen: dict[str, float]) -> dict[str, float]:
    """From the first result to the last: images, seconds, CPU seconds of all processes."""
    process = psutil.Process()
    next(results)
    before, begun = cpu_seconds(process), time.perf_counter()
    images = sum(some.total() for some in results)
    seconds = time.perf_counter() - begun
    # Workers end with the last result, and what they spent is then known from before alone.
    spent = max(cpu_seconds(process), seen["cpu"]) - before
    return {"images": images, "seconds": seconds, "cpu": spent}


@contextmanager
def watched() -> Iterator[dict[str, float]]:
    """Peaks of resident memory, MiB, of this process and of those it started, and CPU seconds."""
    seen = {"main": 0.0, "workers": 0.0, "cpu": 0.0}
    process, done = psutil.Process(), threading.Event()

    def watch() -> None:
        while not done.wait(0.2):
            seen["main"] = max(seen["main"], memory([process]))
            seen["workers"] = max(seen["workers"], memory(process.children(recursive=True)))
            with suppress(psutil.NoSuchProcess):
                seen["cpu"] = max(seen["cpu"], cpu_seconds(process))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        done.set()
        watcher.join()


def spread(values: list[float], digits: int) -> str:
    """Median and range."""
    low, middle, high = (f(values) for f in (min, statistics.median, max))
    return f"{middle:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def told(peak: dict[str, float]) -> str:
    """Of the process, and of its workers if it has any."""
    workers = f" + {peak['workers']:.0f}" if peak["workers"] else ""
    return f"{peak['main']:.0f}{workers}"


def processor() -> str:
    """Its name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.partition(": ")[2] for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


if __name__ == "__main__":
    main()
