"""Limits on requests, from environment variables, and the middleware that enforces them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from pneumonia.core.errors import InputError
from pneumonia.images.limits import MAX_PIXELS
from pneumonia.server.errors import RequestError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


RETRY_AFTER = 1  # s; an image takes a hundredth of it


def _limit(variable: str, default: int, minimum: int = 1) -> Any:
    metadata = {"variable": f"PNEUMONIA_{variable}", "minimum": minimum}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Limits:
    """Limits on requests, each set by an environment variable."""

    body_bytes: int = _limit("MAX_BODY_BYTES", 32 * 2**20)  #: bytes of one request
    pixels: int = _limit("MAX_PIXELS", MAX_PIXELS)  #: pixels of one image
    images: int = _limit("MAX_IMAGES", 32)  #: images in one request
    requests: int = _limit("MAX_REQUESTS", 64)  #: requests in progress
    held_bytes: int = _limit("MAX_HELD_BYTES", 128 * 2**20)  #: bytes of all requests in progress
    seconds: int = _limit("MAX_SECONDS", 30)  #: from the first byte of a request to its response
    #: for so long a server that stops still serves; 0: it closes at once.
    drain_seconds: int = _limit("DRAIN_SECONDS", 2, minimum=0)


def read_limits(environment: Mapping[str, str] = os.environ) -> Limits:
    """The limits of the environment.

    Raises:
        InputError: one of them is not a whole number, or below its minimum.
    """
    values: dict[str, int] = {}
    for limit in fields(Limits):
        variable, minimum = limit.metadata["variable"], limit.metadata["minimum"]
        text = environment.get(variable)
        if text is None:
            continue
        if not (text.isascii() and text.isdigit() and int(text) >= minimum):
            raise InputError(f"{variable}: '{text}' is not a whole number from {minimum}")
        values[limit.name] = int(text)
    return Limits(**values)


class LimitsMiddleware:
    """ASGI middleware that lets in a POST only within the limits.

    It reads the body, so that the application gets it complete or not at all, and in time.
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self.app = app
        self.limits = limits
        self.requests = 0  # in progress
        self.held_bytes = 0  # of their bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or raise a `RequestError`: 413, 429 or 503."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        # uvicorn refuses a length that is not a number.
        self._check_length(int(dict(scope["headers"]).get(b"content-length", b"0")))
        if self.requests >= self.limits.requests:
            raise RequestError(
                429, "too_many_requests", "request",
                "too many requests are in progress: repeat this one in a second", RETRY_AFTER,
            )  # fmt: skip
        self.requests += 1
        sizes: list[int] = []  # bytes of the parts of the body
        try:
            async with asyncio.timeout(self.limits.seconds):
                body = await self._read(receive, sizes)
                if body is not None:
                    await self.app(scope, _replay(body, receive), send)
        except TimeoutError:
            raise RequestError(
                503, "timeout", "request",
                f"no response within {self.limits.seconds} s: send fewer or smaller images, or "
                "repeat the request when the server is less busy", RETRY_AFTER,
            ) from None  # fmt: skip
        finally:
            self.requests -= 1
            self.held_bytes -= sum(sizes)

    async def _read(self, receive: Receive, sizes: list[int]) -> bytes | None:
        """The whole body, or None if the client disconnected; each part's size goes to `sizes`."""
        parts = []
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            parts.append(message.get("body", b""))
            sizes.append(len(parts[-1]))
            self.held_bytes += sizes[-1]
            self._check_length(sum(sizes))
            if self.held_bytes > self.limits.held_bytes:
                raise RequestError(
                    429, "too_many_bytes", "request",
                    "too many bytes are being uploaded: repeat this request in a second",
                    RETRY_AFTER,
                )  # fmt: skip
            if not message.get("more_body", False):
                return b"".join(parts)

    def _check_length(self, length: int) -> None:
        limit = self.limits.body_bytes
        if length > limit:
            raise RequestError(
                413, "body_too_large", "body",
                f"the body is over {limit:,} bytes: send fewer or smaller images",
            )  # fmt: skip


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body that was read, then the server's further messages."""
    waiting = [body]

    async def replay() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return replay
