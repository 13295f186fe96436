"""An image with its heat map over REST: this application, the common recipe, and the bare library.

- *ours*: the application on the champion, `POST /predict`;
- *recipe*: what most demonstrations do: a Flask application with `model.predict` for the
  probability, Grad-CAM by a GradientTape, and Matplotlib's colours laid over the image;
- *bare*: decoding and a call of ONNX Runtime as it comes, in one process, without HTTP or a
  picture.

Latency: one client, the three taking turns on the same images. Throughput: 16 clients on ours,
against what the cores run of the champion's graph, one image a core with nothing around it: *graph*,
and *graph and decoding*. The clients run on the same cores; what they take of them is told.

PYTHONPATH=src:. python -m benchmarks.serving, after `make repro`
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

from benchmarks.clients import busy, post, server
from pneumonia.images.decoding import SUFFIXES

CLIENTS = 16
IMAGES = 50
REST = 0.3  # s
SOME = 10  # of them, for the recipe
BOUNDS = ("graph", "graph and decoding")


def recipe(folder: Path, port: int) -> None:
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
        picture = Image.open(io.BytesIO(request.get_data())).convert("L").resize((side, side))
        image = np.asarray(picture)[None, ..., None]
        logit = float(model.predict(image, verbose=0)[0, 0])
        with tf.GradientTape() as tape:
            activations, score = both(image)
            score = score[:, 0]
        gradient = tape.gradient(score, activations)
        weights = tf.reduce_mean(gradient, axis=(0, 1, 2))
        heat = tf.maximum(tf.squeeze(activations[0] @ weights[..., None]), 0).numpy()
        heat = Image.fromarray(heat / max(heat.max(), 1e-9)).resize((side, side))
        colours = matplotlib.colormaps["jet"](np.asarray(heat))[..., :3]
        laid = 255 * (0.6 * image[0] / 255 + 0.4 * colours)
        file = io.BytesIO()
        Image.fromarray(laid.astype(np.uint8)).save(file, "PNG")
        map_png = base64.b64encode(file.getvalue()).decode()
        return jsonify(probability=1 / (1 + np.exp(-logit)), heat_map_png=map_png)

    logging.getLogger("werkzeug").setLevel("ERROR")
    app.run(port=port, threaded=True)


def bare(graph: Path) -> Callable[[bytes], object]:
    """Decoding and ONNX Runtime as it comes."""
    import onnxruntime

    from pneumonia.images.decoding import decode

    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    side = session.get_inputs()[0].shape[1]
    return lambda image: session.run(None, {"image": decode(image, side).pixels[None, ..., None]})


def capacity(graph: Path, images: Sequence[bytes], seconds: float, with_decoding: bool) -> float:
    """Images a second that the cores run of the graph, each core one image at a time."""
    import onnxruntime

    from pneumonia.images.decoding import decode

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    side = session.get_inputs()[0].shape[1]
    squares = [decode(image, side).pixels[None, ..., None] for image in images]
    end = time.perf_counter() + seconds

    def core(first: int) -> int:
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
        return sum(pool.map(core, range(cores))) / seconds


def latency(
    call: Callable[[bytes], object], ports: tuple[int, int], images: Sequence[bytes], turns: int
) -> dict[str, list[float]]:
    """Median milliseconds of an image, a turn, of ours, the recipe and the bare call."""
    ours, recipes = (HTTPConnection("127.0.0.1", port) for port in ports)
    answers = {"ours": partial(_ask, ours), "recipe": partial(_ask, recipes), "bare": call}
    times: dict[str, list[float]] = {name: [] for name in answers}
    for turn in range(turns + 1):
        for name, answer in answers.items():
            # The libraries' threads spin for a while after a call, in the way of the next one.
            time.sleep(REST)
            spent = []
            for image in images[: SOME if name == "recipe" else None]:
                begun = time.perf_counter()
                answer(image)
                spent.append(time.perf_counter() - begun)
            if turn:  # the first one warms up
                times[name].append(1000 * statistics.median(spent))
    return times


def _ask(connection: HTTPConnection, image: bytes) -> None:
    """A request and its whole answer, on a connection that stays open if it can."""
    connection.request("POST", "/predict", image, {"Content-Type": "application/octet-stream"})
    answer = connection.getresponse()
    answer.read()
    if answer.status != 200:
        raise SystemExit(f"port {connection.port} answered {answer.status}")


def throughput(
    port: int, graph: Path, images: Sequence[bytes], turns: int, seconds: float
) -> dict[str, list[float]]:
    """Images a second, a turn, of 16 clients and of the cores without a server; percent of the
    cores that the clients take.
    """
    requests = [post("/predict", image) for image in images]
    rates: dict[str, list[float]] = {name: [] for name in ("ours", "clients", *BOUNDS)}
    for turn in range(turns + 1):
        begun, used = time.perf_counter(), time.process_time()
        end = begun + seconds
        tally = asyncio.run(busy(port, CLIENTS, requests, partial(_over, end)))
        spent, used = time.perf_counter() - begun, time.process_time() - used
        if tally.lost or set(tally.statuses) != {200}:
            raise SystemExit(f"{tally.lost} requests lost, statuses {set(tally.statuses)}")
        found = {
            "ours": len(tally.statuses) / spent,
            "clients": 100 * used / spent / len(os.sched_getaffinity(0)),
        } | {name: capacity(graph, images, seconds, name != "graph") for name in BOUNDS}
        if turn:
            for name, rate in found.items():
                rates[name].append(rate)
    return rates


def _over(end: float, _: int) -> bool:
    return time.perf_counter() > end


def told(name: str, values: Sequence[float], unit: str, digits: int = 2) -> None:
    """Print median and range."""
    low, middle, high = (
        f"{value:.{digits}f}" for value in (min(values), statistics.median(values), max(values))
    )
    print(f"{name:34} {middle:>7} {unit} ({low} to {high})")


def ratio(found: dict[str, list[float]], over: str, under: str) -> None:
    """Print the ratio, turn by turn."""
    pairs = zip(found[over], found[under], strict=True)
    told(f"{over} / {under}", [a / b for a, b in pairs], "times")


def main() -> None:
    """Print machine, times and ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, default=Path("data/prepared/images"))
    parser.add_argument("--model", default="models:/pneumonia-chest-xray@champion")
    parser.add_argument(
        "--training", type=Path, default=Path("models/transfer"),
        help="the champion's: models/transfer or models/scratch",
    )  # fmt: skip
    parser.add_argument("--turns", type=int, default=7, help="times that each is measured (7)")
    parser.add_argument("--seconds", type=float, default=4, help="a turn of throughput (4)")
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if options.port:
        recipe(options.training, options.port)
        return
    files = sorted(file for file in options.images.rglob("*") if file.suffix in SUFFIXES)[:IMAGES]
    images = [file.read_bytes() for file in files]
    size, cores = sum(map(len, images)) / len(images) / 1000, len(os.sched_getaffinity(0))
    print(f"{len(images)} images of {size:.0f} kB on average; {cores} cores, {platform.machine()}")
    graph = options.training / "graph.onnx"
    application = [sys.executable, "-m", "pneumonia.server.app", "--model", options.model]
    common = [sys.executable, "-m", "benchmarks.serving", "--training", str(options.training)]
    with server(application) as (ours, _), server(common) as (theirs, _):
        times = latency(bare(graph), (ours, theirs), images, options.turns)
    for name, seen in times.items():
        told(f"{name}, p50", seen, "ms")
    ratio(times, "recipe", "ours")
    ratio(times, "ours", "bare")
    with server(application) as (ours, _):
        rates = throughput(ours, graph, images, options.turns, options.seconds)
    told(f"ours, {CLIENTS} clients", rates["ours"], "images/s", 0)
    told("the clients' share of the cores", rates["clients"], "%", 0)
    for name in BOUNDS:
        told(name, rates[name], "images/s", 0)
        ratio(rates, "ours", name)


if __name__ == "__main__":
    main()
