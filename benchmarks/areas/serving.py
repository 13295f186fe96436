"""An image over REST.

The champion in this application, `POST /predict`, which answers with a heat map and warnings; a
Flask application that answers with `model.predict` and an eager Grad-CAM, as most demonstrations
do; and `mlflow models serve` of the Keras model, which gets pixels as JSON, decoded before, and
answers with the probability alone. Prepared squares, PNG. One client waits for each answer (p50);
16 clients keep each server busy in turn, on the same cores. The limits: decoding and the graph in
ONNX Runtime, in one process, without HTTP, warnings or a picture; of 16 clients those on every
core.
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

from benchmarks.clients import busy, post, server
from benchmarks.rows import Row, Setting, take_turns
from benchmarks.serving import CLIENTS, IMAGES, SOME, bare, capacity
from pneumonia.images.decoding import decode

SECONDS = 4  # of 16 clients, a turn
BINARY, JSON = "application/octet-stream", "application/json"
FLASK, MLFLOW = "Flask, `predict`, Grad-CAM", "`mlflow models serve`, no map"
Ask = tuple[str, bytes, str]  # path, body, kind


def measure(setting: Setting) -> list[Row]:
    """Latency and throughput of all three."""
    files = sorted((setting.data / "images").glob("*.png"))[:IMAGES]
    images = [file.read_bytes() for file in files]
    graph = setting.training / "graph.onnx"
    asks = {
        "ours": [("/predict", image, BINARY) for image in images],
        FLASK: [("/predict", image, BINARY) for image in images],
        MLFLOW: [("/invocations", _as_json(image, _side(graph)), JSON) for image in images],
    }
    with ExitStack() as running:
        ports = {
            name: running.enter_context(server(command, silent=True))[0]
            for name, command in _commands(setting).items()
        }
        alone: dict[str, Callable[[], float]] = {
            name: partial(_latency, ports[name], asks[name][: None if name == "ours" else SOME])
            for name in ports
        }
        alone["bare"] = partial(_bare, bare(graph), images)
        one = take_turns(alone, setting.turns)
        ways = {name: partial(_throughput, ports[name], asks[name]) for name in ports}
        ways["cores"] = partial(capacity, graph, images, SECONDS, True)
        many = take_turns(ways, setting.turns)
    return [
        Row(what, unit, found["ours"], rival, found[rival], limit, found[bound])
        for what, unit, found, limit, bound in (
            ("one image, p50", "ms", one, "decoding and the graph", "bare"),
            (f"{CLIENTS} clients", "images/s", many, "decoding and the graph", "cores"),
        )
        for rival in (FLASK, MLFLOW)
    ]


def _commands(setting: Setting) -> dict[str, Sequence[str]]:
    """How each server is started, without its port."""
    import mlflow
    import numpy as np

    from pneumonia.models.saving import load_network

    model = load_network(setting.training)
    image = np.zeros((1, *model.input.shape[1:]), np.uint8)
    signature = mlflow.models.infer_signature(image, model.predict(image, verbose=0))
    folder = setting.scratch / "keras"
    mlflow.keras.save_model(model, str(folder), signature=signature)
    return {
        "ours": [sys.executable, "-m", "pneumonia.server.app", "--model", setting.model],
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


def _latency(port: int, asks: Sequence[Ask]) -> float:
    """Median milliseconds of an answer, on a connection that stays open."""
    connection = HTTPConnection("127.0.0.1", port)
    spent = []
    for path, body, kind in asks:
        begun = time.perf_counter()
        connection.request("POST", path, body, {"Content-Type": kind})
        answer = connection.getresponse()
        told = answer.read()
        spent.append(time.perf_counter() - begun)
        if answer.status != 200:
            raise SystemExit(f"bench: {path} answered {answer.status}: {told[:200]!r}")
    connection.close()
    return 1000 * statistics.median(spent)


def _bare(call: Callable[[bytes], object], images: Sequence[bytes]) -> float:
    spent = []
    for image in images:
        begun = time.perf_counter()
        call(image)
        spent.append(time.perf_counter() - begun)
    return 1000 * statistics.median(spent)


def _throughput(port: int, asks: Sequence[Ask]) -> float:
    """Images a second that 16 clients get."""
    requests = [post(path, body, kind) for path, body, kind in asks]
    begun = time.perf_counter()
    tally = asyncio.run(
        busy(port, CLIENTS, requests, lambda _: time.perf_counter() > begun + SECONDS)
    )
    spent = time.perf_counter() - begun
    if tally.lost or set(tally.statuses) != {200}:
        raise SystemExit(f"bench: {tally.lost} requests lost, statuses {set(tally.statuses)}")
    return len(tally.statuses) / spent
