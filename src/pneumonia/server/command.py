"""The command `pneumonia serve`."""

from __future__ import annotations

import argparse
import os

DESCRIPTION = """Serve a registered model: REST, and a page in the browser.

Limits are environment variables: PNEUMONIA_MAX_BODY_BYTES, _PIXELS, _IMAGES,
_REQUESTS, _HELD_BYTES and _SECONDS; PNEUMONIA_DRAIN_SECONDS is how long a
server that stops still answers. Models come from the MLflow store in
MLFLOW_TRACKING_URI, by default mlflow.db in this folder."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `pneumonia serve`."""
    parser.add_argument(
        "--model", help="models:/NAME@champion, or a folder (the champion of params.yaml)"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=8080, help="port to listen on (8080)")


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal stops the server; return 0.

    Raises:
        InputError: `serve` raised it, or there is neither `--model` nor params.yaml.
    """
    # The server already uses one thread per core, and NumPy's threads would compete with these.
    # NumPy reads the variable once, when it is imported.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    from pneumonia.inference.bundle import champion
    from pneumonia.server.app import serve

    serve(arguments.model or champion(), arguments.host, arguments.port)
    return 0
