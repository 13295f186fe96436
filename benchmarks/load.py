"""Load test of the server: 32 clients for ten minutes, a tenth of their requests invalid.

A request is lost if it gets no complete response. Memory is the resident set of the server,
measured twice per second. It must not grow: the mean of the last minute may be at most 5 % above
the mean of the second minute.

After `make repro`: PYTHONPATH=src:. python -m benchmarks.load
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import psutil

from benchmarks.clients import Tally, keep_busy, post, server
from pneumonia.images.decoding import SUFFIXES

IMAGES = 200
CLIENTS = 32
MINUTE = 60  # seconds


def bad_requests(image: bytes) -> list[bytes]:
    """Invalid requests: typical mistakes of clients."""
    valid = post("/predict", image)
    return [
        post("/predict", b""),
        post("/predict", b"no image at all"),
        post("/predict", image[: len(image) // 2]),
        post("/predict", image, "text/plain"),
        post("/predict", image, "multipart/form-data; boundary=x"),
        post("/invocations", b"{", "application/json"),
        post("/invocations", b'{"inputs": [1]}', "application/json"),
        post("/invocations", b'{"dataframe_records": [{"image": "?"}]}', "application/json"),
        post("/nowhere", image),
        valid.replace(b"POST /predict", b"PUT /predict", 1),
    ]


def mixed(images: Sequence[bytes], seed: int = 0) -> list[bytes]:
    """Valid requests mixed with a tenth of invalid ones."""
    bad = bad_requests(images[0])
    good = [post("/predict", image) for image in images]
    some_bad = [bad[number % len(bad)] for number in range(max(1, len(good) // 9))]
    requests = good + some_bad
    random.Random(seed).shuffle(requests)  # nosec B311 # a reproducible order
    return requests


async def send_and_watch(
    port: int, process: psutil.Process, requests: Sequence[bytes], seconds: float
) -> tuple[Tally, list[int]]:
    """The responses to the clients, and the memory of the server meanwhile, in bytes."""
    end = time.perf_counter() + seconds
    memory: list[int] = []

    async def watch() -> None:
        while True:
            memory.append(process.memory_info().rss)
            await asyncio.sleep(0.5)

    watcher = asyncio.create_task(watch())
    tally = await keep_busy(port, CLIENTS, requests, lambda sent: time.perf_counter() > end)
    watcher.cancel()
    return tally, memory


def main() -> None:
    """Print the results; exit with status 1 if a request was lost or memory grew."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, default=Path("data/prepared/images"))
    parser.add_argument("--model", default="models:/pneumonia-chest-xray@champion")
    parser.add_argument("--minutes", type=float, default=10)
    options = parser.parse_args()
    files = sorted(file for file in options.images.rglob("*") if file.suffix in SUFFIXES)[:IMAGES]
    requests = mixed([file.read_bytes() for file in files])
    application = [sys.executable, "-m", "pneumonia", "serve", "--model", options.model]
    with server(application) as (port, process):
        tally, memory = asyncio.run(
            send_and_watch(port, process, requests, MINUTE * options.minutes)
        )
    cores = len(os.sched_getaffinity(0))
    print(f"{options.minutes:g} minutes, {CLIENTS} clients; {cores} cores, {platform.machine()}")
    statuses = Counter(tally.statuses)
    print("status ", ", ".join(f"{status}: {count}" for status, count in sorted(statuses.items())))
    print(f"lost    {tally.lost}")
    percentiles = statistics.quantiles(tally.seconds, n=100)
    print(f"p50     {1000 * percentiles[49]:.0f} ms")
    print(f"p99     {1000 * percentiles[98]:.0f} ms")
    minute = min(2 * MINUTE, len(memory) // 3)
    early, late = statistics.mean(memory[minute : 2 * minute]), statistics.mean(memory[-minute:])
    print(f"memory  {early / 2**20:.0f} MiB in the second minute, {late / 2**20:.0f} in the last")
    broken = [status for status in statuses if status >= 500 and status != 503]
    if tally.lost or broken or late > 1.05 * early:
        sys.exit("failed: lost requests, server errors or growing memory; see above")


if __name__ == "__main__":
    main()
