"""MLflow's /invocations with our limits and our errors.

A good request is answered by MLflow's own code, byte for byte. Of a bad one MLflow echoes the body,
or tells paths and a stack trace; here it gets one line.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from pneumonia.server.errors import RequestError
from pneumonia.server.limits import Limits
from pneumonia.server.observability import Metrics

if TYPE_CHECKING:
    from mlflow.pyfunc import PyFuncModel
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


PATH = "/invocations"
SHAPES = {
    "application/json": "a JSON object with one of dataframe_records, dataframe_split, inputs and "
    "instances",
    "text/csv": "CSV in UTF-8 with a header",
}


@dataclass
class _Course:
    """How far a request came: what became of it within MLflow's handling, which runs elsewhere."""

    reached_model: bool = False
    error: Exception | None = None


_course: ContextVar[_Course] = ContextVar("course")


class GuardedModel:
    """What MLflow's scoring server needs of a model, around the real one."""

    def __init__(self, model: PyFuncModel, limits: Limits, metrics: Metrics) -> None:
        self.metadata = model.metadata
        self._model = model
        self._limits = limits
        self._metrics = metrics

    def predict(self, data: Any, params: Any = None) -> pd.DataFrame:
        """Answer; `params`, of which the model has none, are passed over and not logged.

        Raises:
            RequestError: too many rows, or no column `image`.
        """
        course = _course.get()
        course.reached_model = True
        try:
            if _rows(data) > self._limits.images:
                raise too_many(self._limits)
            answers = self._model.predict(data)
        except Exception as error:
            # Before our own code runs, which answers every row, MLflow holds the columns to the
            # signature; its text has the data in it.
            is_schema = str(error).startswith("Failed to enforce schema")
            course.error = _wrong_columns() if is_schema else error
            raise
        for row in answers.to_dict("records"):
            codes = [one["code"] for one in row["warnings"] or ()]
            self._metrics.count_image(row["label"] or "error", codes)
        return answers


class Invocations:
    """ASGI middleware around MLflow's scoring server."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or raise a `RequestError`: 400, 413, 415 or 422."""
        if scope["type"] != "http" or (scope["method"], scope["path"]) != ("POST", PATH):
            await self.app(scope, receive, send)
            return
        kind = media_type(scope, SHAPES)
        course = _Course()
        _course.set(course)
        held: list[Message] = []

        async def hold(message: Message) -> None:
            held.append(message)

        try:
            await self.app(scope, receive, hold)
        except Exception:
            # MLflow catches what the model raises, and not all that reading a body raises.
            if course.reached_model:
                raise
            raise _unreadable(kind) from None
        status = held[0]["status"] if held else 500
        if status < 400:
            for message in held:
                await send(message)
            return
        raise course.error or _translated(status, kind)


def media_type(scope: Scope, known: Iterable[str], family: str = "") -> str:
    """The body's media type.

    Args:
        scope: of the request.
        known: the types that are named to the sender.
        family: what others may begin with, such as "image/"; "": there are no others.

    Raises:
        RequestError: no such type, or a compressed body.
    """
    headers = dict(scope["headers"])
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise RequestError(
            415, "unsupported_encoding", "Content-Encoding", "send the body uncompressed"
        )
    kind = headers.get(b"content-type", b"").split(b";")[0].strip().lower().decode("latin-1")
    if kind not in known and not (family and kind.startswith(family)):
        raise RequestError(
            415, "unsupported_media_type", "Content-Type", f"send one of {', '.join(known)}"
        )
    return kind


def too_many(limits: Limits) -> RequestError:
    """More images in one request than are taken."""
    return RequestError(
        413, "too_many_images", "files",
        f"at most {limits.images} images a request: send them in several",
    )  # fmt: skip


def _rows(data: Any) -> int:
    """Rows of a table, or of the lists that MLflow makes of `inputs` and `instances`."""
    columns = data.values() if isinstance(data, dict) else [data]
    # Of a single value NumPy makes an array without a length.
    return max((len(one) for one in columns if getattr(one, "ndim", 0)), default=0)


def _wrong_columns() -> RequestError:
    return RequestError(
        422, "wrong_columns", "image",
        "send one column, `image`, with the bytes of each image in base64",
    )  # fmt: skip


def _unreadable(kind: str) -> RequestError:
    return RequestError(
        400, "unreadable_body", "body",
        f"send {SHAPES[kind]}, and in it one column, `image`, with each image in base64",
    )  # fmt: skip


def _translated(status: int, kind: str) -> RequestError:
    if status == 415:
        return RequestError(
            415, "unsupported_media_type", "Content-Type",
            f"send {kind} in UTF-8 and without other parameters",
        )  # fmt: skip
    return _unreadable(kind)
