"""The application: MLflow's scoring server for a registered model, and our routes beside it.

Command line: python -m pneumonia.server.app --help
"""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from pneumonia.core.errors import InputError
from pneumonia.server.limits import Limits, read_limits

if TYPE_CHECKING:
    from fastapi import FastAPI

    from pneumonia.server.shutdown import Stop


TITLE = "Pneumonia on chest X-rays"


def create_app(
    model_uri_or_path: str, limits: Limits | None = None, stop: Stop | None = None
) -> FastAPI:
    """The application for one model, warm: ready to answer when this returns.

    Args:
        model_uri_or_path: `models:/NAME@champion`, or the folder of a model.
        limits: those of the environment, if none are given.
        stop: what a server that stops changes, and the application heeds.

    Raises:
        InputError: a limit in the environment that is none.
        mlflow.exceptions.MlflowException: no such model.
    """
    from fastapi.staticfiles import StaticFiles
    from mlflow.pyfunc import load_model, scoring_server

    from pneumonia.server.errors import add_handlers
    from pneumonia.server.invocations import GuardedModel, Invocations
    from pneumonia.server.limits import Gate
    from pneumonia.server.observability import Metrics, Watch
    from pneumonia.server.openapi import describe
    from pneumonia.server.predict import Answering
    from pneumonia.server.routes import STATIC, router
    from pneumonia.server.shutdown import Stop, Stopping

    limits = limits or read_limits()
    pyfunc = load_model(model_uri_or_path)
    registered = pyfunc.unwrap_python_model()
    registered.max_pixels = limits.pixels
    metrics = Metrics(registered.served)
    answering = Answering(registered.served, limits, metrics)
    answering.warm_up()
    app: FastAPI = scoring_server.init(GuardedModel(pyfunc, limits, metrics))
    # MLflow's own middleware is a limit on time that answers in its own words; the gate has ours.
    app.user_middleware.clear()
    app.include_router(router(answering, limits, metrics))
    if STATIC.is_dir():
        app.mount("/static", StaticFiles(directory=STATIC))
    describe(app, TITLE)
    add_handlers(app)
    # The last one is the outermost.
    app.add_middleware(Invocations)
    app.add_middleware(Stopping, stop=stop or Stop())
    app.add_middleware(Gate, limits=limits)
    paths = frozenset(getattr(route, "path", "") for route in app.routes)
    app.add_middleware(Watch, metrics=metrics, paths=paths)
    return app


def serve(model: str, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT; server/shutdown.py says what happens then.

    Raises:
        InputError: a limit that is none, no such model, or its store does not answer.
    """
    # A thread a core answers images: NumPy's own threads, which it reads of once, would be in their
    # way.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

    import logging.config

    import uvicorn

    from pneumonia.server.observability import configuration
    from pneumonia.server.shutdown import Server, Stop
    from pneumonia.tracking import store

    os.environ["MLFLOW_TRACKING_URI"] = store.uri()
    limits, logging_configuration, stop = read_limits(), configuration(), Stop()
    logging.config.dictConfig(logging_configuration)
    logging.captureWarnings(True)
    try:
        app = create_app(model, limits, stop)
    except InputError:
        raise
    except Exception as error:
        # Each kind of store has its own exceptions: files, SQL, HTTP.
        raise store.not_loaded(model, error) from None
    config = uvicorn.Config(
        app, host=host, port=port, access_log=False, server_header=False, date_header=False,
        log_config=logging_configuration, timeout_graceful_shutdown=limits.seconds,
    )  # fmt: skip
    # uvicorn, when it is done, passes on the signal that it took.
    with suppress(KeyboardInterrupt):
        Server(config, stop, limits.drain).run()


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and serve; an `InputError` ends with status 1."""
    parser = argparse.ArgumentParser(
        prog="python -m pneumonia.server.app",
        description="Serve a registered model: REST, and a page for people.",
        epilog="Limits: PNEUMONIA_MAX_BODY_BYTES, _PIXELS, _IMAGES, _REQUESTS, _HELD_BYTES and "
        "_SECONDS, and PNEUMONIA_DRAIN_SECONDS, for which a stop still answers. The store: "
        "MLFLOW_TRACKING_URI, else mlflow.db in this folder.",
    )
    parser.add_argument("--model", required=True, help="models:/NAME@champion, or a folder")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=8080, help="port to listen on (8080)")
    given = parser.parse_args(arguments)
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    try:
        serve(given.model, given.host, given.port)
    except InputError as error:
        for line in str(error).splitlines():
            print(f"serve: {line}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
