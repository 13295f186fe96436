"""What a sender is told when a request or an image cannot be answered.

One line that names the field and the mend. Never a stack trace, a path, or what was sent.

Errors that FastAPI and Starlette find, in the same shape as ours.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request


@dataclass(eq=False)
class RequestError(Exception):
    """A request that is answered with an error.

    Attributes:
        status: of HTTP.
        code: for programs.
        field: what to change: a header, a parameter, a field of the form, or "body".
        message: for people, one line.
        retry_after: s, where waiting is the mend.
    """

    status: int
    code: str
    field: str
    message: str
    retry_after: int | None = None

    @property
    def body(self) -> bytes:
        """The answer, JSON."""
        told = {"code": self.code, "field": self.field, "message": self.message}
        return json.dumps({"error": told}).encode()

    @property
    def headers(self) -> dict[str, str]:
        """Of the answer."""
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}


HTTP_REMEDIES = {
    404: ("path", "there is nothing here: see /docs for what there is"),
    405: ("method", "another method is needed here: see /docs"),
}


def add_handlers(app: FastAPI) -> None:
    """Register them."""

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> Response:
        field, mend = HTTP_REMEDIES.get(error.status_code, ("request", "see /docs"))
        code = HTTPStatus(error.status_code).name.lower()
        answer = _response(RequestError(error.status_code, code, field, mend))
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        field = str(first["loc"][-1])
        # What pydantic says of it may quote what was sent; the field's name is ours.
        message = f"`{field}` has a value that it cannot have: see /docs"
        return _response(RequestError(422, "invalid_value", field, message))

    @app.exception_handler(RequestError)
    async def refused(request: Request, error: RequestError) -> Response:
        return _response(error)


def _response(error: RequestError) -> Response:
    return Response(error.body, error.status, headers=error.headers, media_type="application/json")
