"""MLflow's /invocations with our limits and errors.

A valid request gets exactly MLflow's response. To an invalid request, MLflow alone would return the
body, or paths and a stack trace; this module returns one line.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
from starlette.datastructures import Headers

from pneumonia.server.errors import RequestError
from pneumonia.server.limits import Limits
from pneumonia.server.observability import Metrics

if TYPE_CHECKING:
    from mlflow.pyfunc import PyFuncModel
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


PATH = "/invocations"
FORMATS = {
    "application/json": "a JSON object with one of dataframe_records, dataframe_split, inputs and "
    "instances",
    "text/csv": "CSV in UTF-8 with a header",
}


@dataclass
class _Progress:
    """MLflow's progress with a request, shared because MLflow's handler runs in another task."""

    reached_model: bool = False
    error: Exception | None = None


_progress: ContextVar[_Progress] = ContextVar("progress")


class GuardedModel:
    """The methods of a pyfunc that MLflow's scoring server calls, with limits and metrics."""

    def __init__(self, model: PyFuncModel, limits: Limits, metrics: Metrics) -> None:
        self.metadata = model.metadata
        self._model = model
        self._limits = limits
        self._metrics = metrics

    def predict(self, data: Any, params: Any = None) -> pd.DataFrame:
        """Predict; `params` are ignored and not logged, because the model has none.

        Raises:
            RequestError: there are too many rows, or there is no column `image`.
        """
        progress = _progress.get()
        progress.reached_model = True
        try:
            if _count_rows(data) > self._limits.images:
                raise too_many_images(self._limits)
            table = self._model.predict(data)
        except Exception as error:
            # MLflow compares the columns with the signature, and its error message contains the
            # data. Our own code does not raise an error for a bad row.
            progress.error = error
            if str(error).startswith("Failed to enforce schema"):
                progress.error = RequestError(
                    422, "wrong_columns", "image",
                    "send one column, `image`, with the bytes of each image in base64",
                )  # fmt: skip
            raise
        for row in table.to_dict("records"):
            codes = [warning["code"] for warning in row["warnings"] or ()]
            self._metrics.count_image(row["label"] or "error", codes)
        return table


class InvocationsMiddleware:
    """ASGI middleware around MLflow's scoring server."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond, or raise a `RequestError` with status 400, 413, 415 or 422."""
        if scope["type"] != "http" or (scope["method"], scope["path"]) != ("POST", PATH):
            await self.app(scope, receive, send)
            return
        kind = media_type(scope, FORMATS)
        progress = _Progress()
        _progress.set(progress)
        messages: list[Message] = []

        async def collect(message: Message) -> None:
            messages.append(message)

        try:
            await self.app(scope, receive, collect)
        except Exception:
            # MLflow handles errors of the model, but not all errors of reading a body.
            if progress.reached_model:
                raise
            raise _unreadable(kind) from None
        status = messages[0]["status"] if messages else 500
        if progress.error:
            raise progress.error
        if status == 415:
            raise RequestError(
                415, "unsupported_media_type", "Content-Type",
                f"send {kind} in UTF-8 and without other parameters",
            )  # fmt: skip
        if status >= 400:
            raise _unreadable(kind)
        for message in messages:
            await send(message)


def media_type(scope: Scope, known: Iterable[str], family: str = "") -> str:
    """The body's media type: one of `known`, or one that begins with `family`, such as "image/".

    Raises:
        RequestError: the body has another type or is compressed.
    """
    headers = Headers(scope=scope)
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise RequestError(
            415, "unsupported_encoding", "Content-Encoding", "send the body uncompressed"
        )
    kind = headers.get("content-type", "").split(";")[0].strip().lower()
    if kind not in known and not (family and kind.startswith(family)):
        raise RequestError(
            415, "unsupported_media_type", "Content-Type", f"send one of {', '.join(known)}"
        )
    return kind


def too_many_images(limits: Limits) -> RequestError:
    """The error for a request with more images than the limit."""
    return RequestError(
        413, "too_many_images", "files",
        f"at most {limits.images} images a request: use several requests",
    )  # fmt: skip


def _count_rows(data: Any) -> int:
    """Count rows of a table, or of the arrays that MLflow makes from `inputs` and `instances`."""
    columns = data.values() if isinstance(data, dict) else [data]
    # A single value is an array without dimensions.
    return max((len(column) for column in columns if getattr(column, "ndim", 0)), default=0)


def _unreadable(kind: str) -> RequestError:
    return RequestError(
        400, "unreadable_body", "body",
        f"send {FORMATS[kind]}, and in it one column, `image`, with each image in base64",
    )  # fmt: skip
