"""An image over REST.

This project runs the champion in `pneumonia serve`; `POST /predict` returns a heat map and
warnings. The alternatives are a Flask application with `model.predict` and Grad-CAM without a
compiled graph, as in most demonstrations; and `mlflow models serve` of the Keras model, which
receives decoded pixels as JSON and returns the probability only. The images are prepared PNG
squares. One client waits for each response (p50); 16 clients send requests all the time, to one
server after the other, on the same cores. The limit is the speed of decoding and of the graph in
ONNX Runtime, without HTTP, warnings or rendering: in one process for one client, and on every core
for 16 clients.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from http.client import HTTPConnection
from pathlib import Path

from benchmarks.clients import keep_busy, post, server
from benchmarks.measurement import Row, Setting, take_turns
from benchmarks.serving import CLIENTS, FEW, IMAGES, bare, capacity
from pneumonia.images.decoding import decode

SECONDS = 4  # duration of a turn with 16 clients
BINARY, JSON = "application/octet-stream", "application/json"
FLASK, MLFLOW = "Flask, `predict`, Grad-CAM", "`mlflow models serve`, no map"
Request = tuple[str, bytes, str]  # path, body, content type


def measure(setting: Setting) -> list[Row]:
    """Latency and throughput."""
    files = sorted((setting.data / "images").glob("*.png"))[:IMAGES]
    images = [file.read_bytes() for file in files]
    graph = setting.training / "graph.onnx"
    requests = {
        "ours": [("/predict", image, BINARY) for image in images],
        FLASK: [("/predict", image, BINARY) for image in images],
        MLFLOW: [("/invocations", _as_json(image, _side(graph)), JSON) for image in images],
    }
    with ExitStack() as running:
        ports = {
            name: running.enter_context(server(command, silent=True))[0]
            for name, command in _commands(setting).items()
        }
        latencies: dict[str, Callable[[], float]] = {
            name: partial(_latency, ports[name], requests[name][: None if name == "ours" else FEW])
            for name in ports
        }
        latencies["bare"] = partial(_bare, bare(graph), images)
        latency = take_turns(latencies, setting.turns)
        rates = {name: partial(_throughput, ports[name], requests[name]) for name in ports}
        rates["cores"] = partial(capacity, graph, images, SECONDS, True)
        throughput = take_turns(rates, setting.turns)
    return [
        Row(task, unit, values["ours"], alternative, values[alternative], limit, values[bound])
        for task, unit, values, limit, bound in (
            ("one image, p50", "ms", latency, "decoding and the graph", "bare"),
            (f"{CLIENTS} clients", "images/s", throughput, "decoding and the graph", "cores"),
        )
        for alternative in (FLASK, MLFLOW)
    ]


def _commands(setting: Setting) -> dict[str, Sequence[str]]:
    """The commands that start the servers, without a port."""
    import mlflow
    import numpy as np

    from pneumonia.models.saving import load_network

    model = load_network(setting.training)
    image = np.zeros((1, *model.input.shape[1:]), np.uint8)
    signature = mlflow.models.infer_signature(image, model.predict(image, verbose=0))
    folder = setting.scratch / "keras"
    mlflow.keras.save_model(model, str(folder), signature=signature)
    return {
        "ours": [sys.executable, "-m", "pneumonia", "serve", "--model", setting.model],
        FLASK: [
            sys.executable, "-m", "benchmarks.serving", "--training", str(setting.training),
        ],
        MLFLOW: [
            sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", str(folder),
            "--env-manager", "local",
        ],
    }  # fmt: skip


def _side(graph: Path) -> int:
    from pneumonia.inference.predictor import Graph

    return Graph(graph, 1).size


def _as_json(image: bytes, side: int) -> bytes:
    return json.dumps({"inputs": decode(image, side).pixels[None, ..., None].tolist()}).encode()


def _latency(port: int, requests: Sequence[Request]) -> float:
    """Median milliseconds of a response, on a connection that stays open."""
    connection = HTTPConnection("127.0.0.1", port)
    spent = []
    for path, body, content_type in requests:
        started = time.perf_counter()
        connection.request("POST", path, body, {"Content-Type": content_type})
        response = connection.getresponse()
        content = response.read()
        spent.append(time.perf_counter() - started)
        if response.status != 200:
            raise SystemExit(f"bench: {path} returned {response.status}: {content[:200]!r}")
    connection.close()
    return 1000 * statistics.median(spent)


def _bare(call: Callable[[bytes], object], images: Sequence[bytes]) -> float:
    spent = []
    for image in images:
        started = time.perf_counter()
        call(image)
        spent.append(time.perf_counter() - started)
    return 1000 * statistics.median(spent)


def _throughput(port: int, requests: Sequence[Request]) -> float:
    """Images per second with 16 clients."""
    messages = [post(*request) for request in requests]
    started = time.perf_counter()
    tally = asyncio.run(
        keep_busy(port, CLIENTS, messages, lambda _: time.perf_counter() > started + SECONDS)
    )
    spent = time.perf_counter() - started
    if tally.lost or set(tally.statuses) != {200}:
        raise SystemExit(f"bench: {tally.lost} requests lost, statuses {set(tally.statuses)}")
    return len(tally.statuses) / spent
