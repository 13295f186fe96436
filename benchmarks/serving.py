"""An image with its heat map over REST: this project, a common alternative, and a limit.

- *ours*: `pneumonia serve` with the champion, `POST /predict`;
- *Flask*: as in most demonstrations, a Flask application with `model.predict` for the probability,
  Grad-CAM with a GradientTape, and a colour map of Matplotlib laid over the image;
- *bare*: decoding and the graph in ONNX Runtime in one process, without HTTP or rendering.

Latency: one client; the three are measured in turns on the same images. Throughput: 16 clients on
*ours*. The limits are the rates at which all cores run the champion's graph alone (*graph*), and
with decoding (*graph and decoding*), one image per core. The clients use the same cores; their
share of CPU time is printed.

After `make repro`: PYTHONPATH=src:. python -m benchmarks.serving
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import logging
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.client import HTTPConnection
from pathlib import Path

import numpy as np

from benchmarks.clients import keep_busy, post, server
from benchmarks.measurement import PAUSE
from pneumonia.images.decoding import SUFFIXES

CLIENTS = 16
IMAGES = 50
FEW = 10  # of them, for the alternative
BOUNDS = ("graph", "graph and decoding")


def serve_flask(folder: Path, port: int) -> None:
    """Serve as most demonstrations do."""
    import keras
    import matplotlib
    import tensorflow as tf
    from flask import Flask, Response, jsonify, request
    from PIL import Image

    from pneumonia.models.saving import load_network

    model = load_network(folder)
    both = keras.Model(model.input, [model.get_layer("features").output, model.output])
    side = model.input_shape[1]
    app = Flask(__name__)

    @app.get("/ping")
    def ping() -> str:
        return ""

    @app.post("/predict")
    def predict() -> Response:
        square = Image.open(io.BytesIO(request.get_data())).convert("L").resize((side, side))
        image = np.asarray(square)[None, ..., None]
        logit = float(model.predict(image, verbose=0)[0, 0])
        with tf.GradientTape() as tape:
            activations, score = both(image)
            score = score[:, 0]
        gradient = tape.gradient(score, activations)
        weights = tf.reduce_mean(gradient, axis=(0, 1, 2))
        heat = tf.maximum(tf.squeeze(activations[0] @ weights[..., None]), 0).numpy()
        heat = Image.fromarray(heat / max(heat.max(), 1e-9)).resize((side, side))
        colours = matplotlib.colormaps["jet"](np.asarray(heat))[..., :3]
        overlay = 255 * (0.6 * image[0] / 255 + 0.4 * colours)
        file = io.BytesIO()
        Image.fromarray(overlay.astype(np.uint8)).save(file, "PNG")
        map_png = base64.b64encode(file.getvalue()).decode()
        return jsonify(probability=1 / (1 + np.exp(-logit)), heat_map_png=map_png)

    logging.getLogger("werkzeug").setLevel("ERROR")
    app.run(port=port, threaded=True)


def bare(graph: Path) -> Callable[[bytes], object]:
    """Decoding and ONNX Runtime with default settings."""
    import onnxruntime

    from pneumonia.images.decoding import decode

    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    side = session.get_inputs()[0].shape[1]
    return lambda image: session.run(None, {"image": decode(image, side).pixels[None, ..., None]})


def capacity(graph: Path, images: Sequence[bytes], seconds: float, with_decoding: bool) -> float:
    """Images per second of the graph on all cores, one image at a time on each core."""
    import onnxruntime

    from pneumonia.images.decoding import decode

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    side = session.get_inputs()[0].shape[1]
    squares = [decode(image, side).pixels[None, ..., None] for image in images]
    end = time.perf_counter() + seconds

    def run_on_core(first: int) -> int:
        done = 0
        while time.perf_counter() < end:
            row = (first + done) % len(images)
            square = squares[row]
            if with_decoding:
                square = decode(images[row], side).pixels[None, ..., None]
            session.run(None, {"image": square})
            done += 1
        return done

    cores = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(cores) as pool:
        return sum(pool.map(run_on_core, range(cores))) / seconds


def latency(
    call: Callable[[bytes], object], ports: tuple[int, int], images: Sequence[bytes], turns: int
) -> dict[str, list[float]]:
    """Median milliseconds per image of each turn, for *ours*, *Flask* and *bare*."""
    ours, flask = (HTTPConnection("127.0.0.1", port) for port in ports)
    requests = {"ours": partial(_post, ours), "Flask": partial(_post, flask), "bare": call}
    times: dict[str, list[float]] = {name: [] for name in requests}
    for turn in range(turns + 1):
        for name, request in requests.items():
            # After a call, threads of the libraries stay busy for a while and would disturb the
            # next.
            time.sleep(PAUSE)
            spent = []
            for image in images[: FEW if name == "Flask" else None]:
                started = time.perf_counter()
                request(image)
                spent.append(time.perf_counter() - started)
            if turn:  # the first turn warms up
                times[name].append(1000 * statistics.median(spent))
    return times


def _post(connection: HTTPConnection, image: bytes) -> None:
    """Send a request and read the response, on a connection that stays open if possible."""
    connection.request("POST", "/predict", image, {"Content-Type": "application/octet-stream"})
    response = connection.getresponse()
    response.read()
    if response.status != 200:
        raise SystemExit(f"port {connection.port} returned {response.status}")


def throughput(
    port: int, graph: Path, images: Sequence[bytes], turns: int, seconds: float
) -> dict[str, list[float]]:
    """Images per second of each turn, with 16 clients and of the cores without a server.

    Also the percentage of the cores that the clients use.
    """
    requests = [post("/predict", image) for image in images]
    rates: dict[str, list[float]] = {name: [] for name in ("ours", "clients", *BOUNDS)}
    for turn in range(turns + 1):
        started, used = time.perf_counter(), time.process_time()
        end = started + seconds
        tally = asyncio.run(keep_busy(port, CLIENTS, requests, partial(_is_over, end)))
        spent, used = time.perf_counter() - started, time.process_time() - used
        if tally.lost or set(tally.statuses) != {200}:
            raise SystemExit(f"{tally.lost} requests lost, statuses {set(tally.statuses)}")
        values = {
            "ours": len(tally.statuses) / spent,
            "clients": 100 * used / spent / len(os.sched_getaffinity(0)),
        } | {name: capacity(graph, images, seconds, name != "graph") for name in BOUNDS}
        if turn:
            for name, rate in values.items():
                rates[name].append(rate)
    return rates


def _is_over(end: float, _: int) -> bool:
    return time.perf_counter() > end


def print_spread(name: str, values: Sequence[float], unit: str, digits: int = 2) -> None:
    """Print median and range."""
    low, median, high = (
        f"{value:.{digits}f}" for value in (min(values), statistics.median(values), max(values))
    )
    print(f"{name:34} {median:>7} {unit} ({low} to {high})")


def print_ratio(values: dict[str, list[float]], over: str, under: str) -> None:
    """Print the ratio of two measurements, computed for each turn."""
    pairs = zip(values[over], values[under], strict=True)
    print_spread(f"{over} / {under}", [a / b for a, b in pairs], "times")


def main() -> None:
    """Print machine, times and ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, default=Path("data/prepared/images"))
    parser.add_argument("--model", default="models:/pneumonia-chest-xray@champion")
    parser.add_argument(
        "--training", type=Path, default=Path("models/transfer"),
        help="folder of the champion's training (models/transfer)",
    )  # fmt: skip
    parser.add_argument("--turns", type=int, default=7, help="how often to measure each (7)")
    parser.add_argument(
        "--seconds", type=float, default=4, help="duration of a turn of throughput (4)"
    )
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if options.port:
        serve_flask(options.training, options.port)
        return
    files = sorted(file for file in options.images.rglob("*") if file.suffix in SUFFIXES)[:IMAGES]
    images = [file.read_bytes() for file in files]
    size, cores = sum(map(len, images)) / len(images) / 1000, len(os.sched_getaffinity(0))
    print(f"{len(images)} images of {size:.0f} kB on average; {cores} cores, {platform.machine()}")
    graph = options.training / "graph.onnx"
    application = [sys.executable, "-m", "pneumonia", "serve", "--model", options.model]
    alternative = [sys.executable, "-m", "benchmarks.serving", "--training", str(options.training)]
    with server(application) as (ours, _), server(alternative) as (theirs, _):
        times = latency(bare(graph), (ours, theirs), images, options.turns)
    for name, spent in times.items():
        print_spread(f"{name}, p50", spent, "ms")
    print_ratio(times, "Flask", "ours")
    print_ratio(times, "ours", "bare")
    with server(application) as (ours, _):
        rates = throughput(ours, graph, images, options.turns, options.seconds)
    print_spread(f"ours, {CLIENTS} clients", rates["ours"], "images/s", 0)
    print_spread("the clients' share of the cores", rates["clients"], "%", 0)
    for name in BOUNDS:
        print_spread(name, rates[name], "images/s", 0)
        print_ratio(rates, "ours", name)


if __name__ == "__main__":
    main()
