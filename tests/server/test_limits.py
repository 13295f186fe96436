"""A request over a limit is refused before it costs anything, and leaves nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from pneumonia.core.errors import InputError
from pneumonia.server.errors import RequestError
from pneumonia.server.limits import Limits, LimitsMiddleware, read_limits

App = Callable[[Any, Any, Any], Awaitable[None]]


class Sender:
    """Sends a body in parts, and counts those that were asked for.

    After the last one it has ended, or leaves without an end, or is silent for ever.
    """

    def __init__(self, *parts: bytes, then: str = "ends") -> None:
        self.parts = list(parts)
        self.then = then
        self.asked = 0

    async def receive(self) -> dict[str, Any]:
        self.asked += 1
        if not self.parts:
            if self.then == "is silent":
                await asyncio.Event().wait()
            return {"type": "http.disconnect"}
        body = self.parts.pop(0)
        more = bool(self.parts) or self.then != "ends"
        return {"type": "http.request", "body": body, "more_body": more}


async def take(scope: Any, receive: Any, send: Any) -> None:
    """An application that sends the body back."""
    await send(await receive())


def post(length: int | None = None, method: str = "POST") -> dict[str, Any]:
    headers = [] if length is None else [(b"content-length", str(length).encode())]
    return {"type": "http", "method": method, "headers": headers}


async def through(
    gate: LimitsMiddleware, sender: Sender, scope: dict[str, Any] | None = None
) -> list[dict[str, Any]]:
    answers: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        answers.append(message)

    await gate(scope or post(), sender.receive, send)
    return answers


def refusal(
    gate: LimitsMiddleware, sender: Sender, scope: dict[str, Any] | None = None
) -> RequestError:
    with pytest.raises(RequestError) as raised:
        asyncio.run(through(gate, sender, scope))
    assert (gate.requests, gate.held_bytes) == (0, 0)
    return raised.value


def test_a_body_within_the_limits_arrives_complete() -> None:
    gate = LimitsMiddleware(take, Limits(body_bytes=6))
    [message] = asyncio.run(through(gate, Sender(b"abc", b"", b"def")))
    assert message == {"type": "http.request", "body": b"abcdef", "more_body": False}
    assert (gate.requests, gate.held_bytes) == (0, 0)


def test_a_long_body_is_refused_by_its_header_before_it_is_read() -> None:
    sender = Sender(b"abcdefg")
    assert refusal(LimitsMiddleware(take, Limits(body_bytes=6)), sender, post(7)).status == 413
    assert sender.asked == 0


def test_a_long_body_without_a_length_is_refused_at_the_limit() -> None:
    sender = Sender(*[b"abc"] * 100)
    assert refusal(LimitsMiddleware(take, Limits(body_bytes=6)), sender).status == 413
    assert sender.asked == 3


def test_a_disconnected_client_gets_no_response() -> None:
    gate = LimitsMiddleware(take, Limits())
    sender = Sender(b"abc", then="leaves")
    assert asyncio.run(through(gate, sender)) == []
    assert (gate.requests, gate.held_bytes) == (0, 0)


def test_more_requests_than_allowed_get_retry_after() -> None:
    async def scene() -> None:
        done = asyncio.Event()

        async def wait(scope: Any, receive: Any, send: Any) -> None:
            await done.wait()

        gate = LimitsMiddleware(wait, Limits(requests=2))
        tasks = [asyncio.create_task(through(gate, Sender(b"a"))) for _ in range(2)]
        while gate.requests < 2:
            await asyncio.sleep(0)
        with pytest.raises(RequestError) as raised:
            await through(gate, Sender(b"a"))
        assert raised.value.status == 429
        assert raised.value.retry_after
        # Looking on costs nothing: probes and metrics get in.
        looking = asyncio.create_task(through(gate, Sender(), post(method="GET")))
        await asyncio.sleep(0)
        done.set()
        await asyncio.gather(*tasks, looking)
        assert (gate.requests, gate.held_bytes) == (0, 0)
        await through(gate, Sender(b"a"))

    asyncio.run(asyncio.wait_for(scene(), 20))


def test_the_bytes_of_all_requests_are_limited_together() -> None:
    async def scene() -> None:
        gate = LimitsMiddleware(take, Limits(held_bytes=10))
        slow = asyncio.create_task(through(gate, Sender(b"1234567", then="is silent")))
        while gate.held_bytes < 7:
            await asyncio.sleep(0)
        with pytest.raises(RequestError) as raised:
            await through(gate, Sender(b"1234"))
        assert raised.value.status == 429
        assert gate.held_bytes == 7
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
        assert (gate.requests, gate.held_bytes) == (0, 0)

    asyncio.run(asyncio.wait_for(scene(), 20))


@pytest.mark.parametrize("sender", [Sender(b"a", then="is silent"), Sender(b"a")])
def test_a_request_over_the_time_limit_is_ended(sender: Sender) -> None:
    ended = False

    async def for_ever(scope: Any, receive: Any, send: Any) -> None:
        nonlocal ended
        try:
            await asyncio.Event().wait()
        finally:
            ended = True

    limits = Limits(seconds=0.05)  # type: ignore[arg-type]
    error = refusal(LimitsMiddleware(for_ever, limits), sender)
    assert error.status == 503
    assert error.retry_after
    assert ended == (sender.then == "ends")


def test_limits_come_from_the_environment() -> None:
    environment = {"PNEUMONIA_MAX_IMAGES": "3", "PNEUMONIA_DRAIN_SECONDS": "0"}
    assert read_limits(environment) == Limits(images=3, drain_seconds=0)
    assert read_limits({}) == Limits()


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "many", "1e6", "²"])
def test_an_invalid_limit_is_named(text: str) -> None:
    with pytest.raises(InputError, match="PNEUMONIA_MAX_SECONDS"):
        read_limits({"PNEUMONIA_MAX_SECONDS": text})
