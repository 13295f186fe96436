"""Error responses to requests: one line that names the field and the remedy.

A response never contains a stack trace, a path or the sent data. Errors that FastAPI and Starlette
raise get the same form.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request


ROUTES = "see /openapi.json for the routes"


@dataclass(eq=False)
class RequestError(Exception):
    """A request that gets an error as its response."""

    status: int  #: HTTP status
    code: str  #: text for programs
    field: str  #: part to change: a header, a parameter, a field of the form, or "body"
    message: str  #: text for people, one line
    retry_after: int | None = None  #: seconds after which a repetition may help

    def response(self) -> Response:
        """The error as a JSON response."""
        error = {"code": self.code, "field": self.field, "message": self.message}
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return JSONResponse({"error": error}, self.status, headers)


HTTP_REMEDIES = {
    404: ("path", f"nothing is here: {ROUTES}"),
    405: ("method", f"this path needs another method: {ROUTES}"),
}


def add_handlers(app: FastAPI) -> None:
    """Register the handlers for all errors that routes raise."""

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        field, remedy = HTTP_REMEDIES.get(error.status_code, ("request", ROUTES))
        code = HTTPStatus(error.status_code).name.lower()
        response = RequestError(error.status_code, code, field, remedy).response()
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(RequestValidationError)
    async def invalid_parameter(request: Request, error: RequestValidationError) -> Response:
        # Pydantic's message may quote the sent data, so only the name of the field is used.
        field = str(error.errors()[0]["loc"][-1])
        message = f"`{field}` has an invalid value: see /openapi.json"
        return RequestError(422, "invalid_value", field, message).response()

    @app.exception_handler(RequestError)
    async def request_error(request: Request, error: RequestError) -> Response:
        return error.response()
