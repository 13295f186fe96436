"""What a request may cost, by environment variables, and the gate that holds requests to it."""

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


def _limit(variable: str, default: int, least: int = 1) -> Any:
    return field(default=default, metadata={"variable": f"PNEUMONIA_{variable}", "least": least})


@dataclass(frozen=True)
class Limits:
    """What is refused and how long is waited, each by an environment variable of its own.

    Attributes:
        body: bytes of one request.
        pixels: of one image.
        images: images in one request.
        requests: in flight at once.
        held: bytes of all requests in flight.
        seconds: from a request's first byte to its answer.
        drain: seconds that a stop still answers for; 0: it closes at once.
    """

    body: int = _limit("MAX_BODY_BYTES", 32 * 2**20)
    pixels: int = _limit("MAX_PIXELS", MAX_PIXELS)
    images: int = _limit("MAX_IMAGES", 32)
    requests: int = _limit("MAX_REQUESTS", 64)
    held: int = _limit("MAX_HELD_BYTES", 128 * 2**20)
    seconds: int = _limit("MAX_SECONDS", 30)
    drain: int = _limit("DRAIN_SECONDS", 2, least=0)


def read_limits(environment: Mapping[str, str] = os.environ) -> Limits:
    """The limits that the environment gives.

    Raises:
        InputError: one of them is no whole number, or less than it may be.
    """
    given: dict[str, int] = {}
    for one in fields(Limits):
        variable, least = one.metadata["variable"], one.metadata["least"]
        text = environment.get(variable)
        if text is None:
            continue
        if not (text.isascii() and text.isdigit() and int(text) >= least):
            raise InputError(f"{variable}: '{text}' is not a whole number from {least}")
        given[one.name] = int(text)
    return Limits(**given)


class Gate:
    """ASGI middleware: a POST gets in when its body is within the limits and there is room for it.

    The body is read here, so that what is behind has it whole or not at all, and within the time.
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self.app = app
        self.limits = limits
        self.requests = 0
        self.held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or raise a `RequestError`: 413, 429 or 503."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        self._check_length(_content_length(scope))
        if self.requests >= self.limits.requests:
            raise RequestError(
                429, "too_many_requests", "request",
                "too many requests are in flight: repeat this one in a second", RETRY_AFTER,
            )  # fmt: skip
        self.requests += 1
        held = _Held(self)
        try:
            async with asyncio.timeout(self.limits.seconds):
                body = await self._read(receive, held)
                if body is not None:
                    await self.app(scope, _again(body, receive), send)
        except TimeoutError:
            raise RequestError(
                503, "timeout", "request",
                f"no answer within {self.limits.seconds} s: send fewer or smaller images, or repeat "
                "this when there is less to do", RETRY_AFTER,
            ) from None  # fmt: skip
        finally:
            self.requests -= 1
            self.held -= held.size

    async def _read(self, receive: Receive, held: _Held) -> bytes | None:
        """The whole body; None where the sender went away."""
        parts = []
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            parts.append(message.get("body", b""))
            held.add(len(parts[-1]))
            self._check_length(held.size)
            if self.held > self.limits.held:
                raise RequestError(
                    429, "too_many_bytes", "request",
                    "too much is being uploaded: repeat this request in a second", RETRY_AFTER,
                )  # fmt: skip
            if not message.get("more_body", False):
                return b"".join(parts)

    def _check_length(self, length: int) -> None:
        if length > self.limits.body:
            raise RequestError(
                413, "body_too_large", "body",
                f"the body is over {self.limits.body:,} bytes: send fewer or smaller images",
            )  # fmt: skip


class _Held:
    """Bytes that one request holds, told to the gate as they come."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.size = 0

    def add(self, size: int) -> None:
        self.size += size
        self.gate.held += size


def _content_length(scope: Scope) -> int:
    # The server refuses what is no number.
    return int(dict(scope["headers"]).get(b"content-length", b"0"))


def _again(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body that was read, then what the server has to say."""
    waiting = [body]

    async def given() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return given
