"""The application: MLflow's scoring server for a registered model, with our own routes."""

from __future__ import annotations

import logging.config
import os
from contextlib import suppress

import uvicorn
from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from pneumonia.core.errors import InputError
from pneumonia.server.errors import add_handlers
from pneumonia.server.invocations import GuardedModel, InvocationsMiddleware
from pneumonia.server.limits import Limits, LimitsMiddleware, read_limits
from pneumonia.server.observability import Metrics, ObservabilityMiddleware, logging_config
from pneumonia.server.openapi import describe
from pneumonia.server.predict import PredictionService
from pneumonia.server.routes import STATIC, create_router
from pneumonia.server.shutdown import Server, ShutdownMiddleware, ShutdownState
from pneumonia.tracking import store


def create_app(
    model_uri_or_path: str, limits: Limits | None = None, state: ShutdownState | None = None
) -> FastAPI:
    """Make the application for one model and warm it up; `limits` default to the environment.

    Raises:
        InputError: a limit in the environment is not valid.
        mlflow.exceptions.MlflowException: the model does not exist.
    """
    # This import is slow, and it logs, so it must come after `logging_config`.
    from mlflow.pyfunc import load_model, scoring_server

    limits = limits or read_limits()
    pyfunc = load_model(model_uri_or_path)
    registered = pyfunc.unwrap_python_model()
    registered.max_pixels = limits.pixels
    metrics = Metrics(registered.bundle)
    service = PredictionService(registered.bundle, limits, metrics)
    service.warm_up()
    app: FastAPI = scoring_server.init(GuardedModel(pyfunc, limits, metrics))
    # MLflow's only middleware is a time limit; `LimitsMiddleware` has our own time limit.
    app.user_middleware.clear()
    app.include_router(create_router(service, limits, metrics))
    app.mount("/static", StaticFiles(directory=STATIC))
    describe(app)
    add_handlers(app)
    # The middleware that is added last is the outermost.
    app.add_middleware(InvocationsMiddleware)
    app.add_middleware(ShutdownMiddleware, state=state or ShutdownState())
    app.add_middleware(LimitsMiddleware, limits=limits)
    paths = frozenset(getattr(route, "path", "") for route in app.routes)
    app.add_middleware(ObservabilityMiddleware, metrics=metrics, paths=paths)
    return app


def serve(model: str, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT, then shut down as server/shutdown.py describes.

    Raises:
        InputError: a limit is not valid, there is no such model, or the store does not respond.
    """
    os.environ["MLFLOW_TRACKING_URI"] = store.uri()
    limits, log_config, state = read_limits(), logging_config(), ShutdownState()
    logging.config.dictConfig(log_config)
    logging.captureWarnings(True)
    try:
        app = create_app(model, limits, state)
    except InputError:
        raise
    except Exception as error:
        # Each kind of store has its own exceptions: files, SQL, HTTP.
        raise store.load_error(model, error) from None
    config = uvicorn.Config(
        app, host=host, port=port, access_log=False, server_header=False, date_header=False,
        log_config=log_config, timeout_graceful_shutdown=limits.seconds,
    )  # fmt: skip
    # uvicorn raises the signal again after the shutdown.
    with suppress(KeyboardInterrupt):
        Server(config, state, limits.drain_seconds).run()
