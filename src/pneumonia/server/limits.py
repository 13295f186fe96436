"""Limits on requests, from environment variables, and the middleware that enforces them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect, Request

from pneumonia.core.errors import InputError
from pneumonia.images.limits import MAX_PIXELS
from pneumonia.server.errors import RequestError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


RETRY_AFTER = 1  # seconds; an image takes a hundredth of this time


@dataclass(frozen=True)
class Limits:
    """Limits on requests; PNEUMONIA_MAX_BODY_BYTES sets `body_bytes`, and so on."""

    body_bytes: int = 32 * 2**20  #: bytes of one request
    pixels: int = MAX_PIXELS  #: pixels of one image
    images: int = 32  #: images in one request
    requests: int = 64  #: requests in progress
    held_bytes: int = 128 * 2**20  #: bytes of all requests in progress
    seconds: int = 30  #: time from the first byte of a request to its response
    #: a stopping server serves for this time, 0 for none; PNEUMONIA_DRAIN_SECONDS sets it.
    drain_seconds: int = 2


def read_limits(environment: Mapping[str, str] = os.environ) -> Limits:
    """Read the limits from the environment.

    Raises:
        InputError: a limit is not a whole number, or is below its minimum.
    """
    values: dict[str, int] = {}
    for limit in fields(Limits):
        prefix, minimum = ("", 0) if limit.name == "drain_seconds" else ("MAX_", 1)
        variable = f"PNEUMONIA_{prefix}{limit.name.upper()}"
        text = environment.get(variable)
        if text is None:
            continue
        if not (text.isascii() and text.isdigit() and int(text) >= minimum):
            raise InputError(f"{variable}: '{text}' is not a whole number from {minimum}")
        values[limit.name] = int(text)
    return Limits(**values)


class LimitsMiddleware:
    """ASGI middleware that accepts a POST request only within the limits.

    It reads the whole body within the time limit, or the application gets no request.
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self.app = app
        self.limits = limits
        self.requests = 0  # number of requests in progress
        self.held_bytes = 0  # bytes of the bodies of these requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Accept a request, or raise a `RequestError` with status 413, 429 or 503."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        # The length is a number, because uvicorn refuses other lengths.
        self._check_length(int(dict(scope["headers"]).get(b"content-length", b"0")))
        if self.requests >= self.limits.requests:
            raise RequestError(
                429, "too_many_requests", "request",
                "too many requests are in progress: repeat this one in a second", RETRY_AFTER,
            )  # fmt: skip
        self.requests += 1
        parts: list[bytes] = []
        length = 0
        try:
            async with asyncio.timeout(self.limits.seconds):
                async for part in Request(scope, receive).stream():
                    parts.append(part)
                    length += len(part)
                    self.held_bytes += len(part)
                    self._check_length(length)
                    self._check_held_bytes()
                messages: list[Message] = [
                    {"type": "http.request", "body": b"".join(parts), "more_body": False}
                ]
                parts.clear()

                async def replay() -> Message:
                    return messages.pop() if messages else await receive()

                await self.app(scope, replay, send)
        except ClientDisconnect:
            pass  # the client left before the body was complete and waits for no response
        except TimeoutError:
            raise RequestError(
                503, "timeout", "request",
                f"no response within {self.limits.seconds} s: send fewer or smaller images, or "
                "repeat the request when the server is less busy", RETRY_AFTER,
            ) from None  # fmt: skip
        finally:
            self.requests -= 1
            self.held_bytes -= length

    def _check_length(self, length: int) -> None:
        if length > self.limits.body_bytes:
            raise RequestError(
                413, "body_too_large", "body",
                f"the body is over {self.limits.body_bytes:,} bytes: send fewer or smaller images",
            )  # fmt: skip

    def _check_held_bytes(self) -> None:
        if self.held_bytes > self.limits.held_bytes:
            raise RequestError(
                429, "too_many_bytes", "request",
                "too many bytes are being uploaded: repeat this request in a second", RETRY_AFTER,
            )  # fmt: skip
