"""Clients that keep a server busy and take little of its cores: one process, ready requests."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import psutil


@dataclass
class Tally:
    """What clients saw.

    Attributes:
        statuses: of each answer, in the order in which they came.
        seconds: from the first byte sent to the last one received, of each.
        lost: requests without a whole answer.
        body: of the last answer.
    """

    statuses: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    lost: int = 0
    body: bytes = b""


def post(path: str, body: bytes, kind: str = "application/octet-stream") -> bytes:
    """A whole request on a connection that stays open."""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


async def busy(
    port: int, clients: int, requests: Sequence[bytes], until: Callable[[int], bool]
) -> Tally:
    """Send requests one after the other from each of several clients.

    Args:
        port: of a server on this machine.
        clients: connections; the first one begins with the first request, the second with another.
        requests: made by `post`; each client goes through them again and again.
        until: whether it is enough, of how many requests were sent.
    """
    tally = Tally()
    sent = 0

    async def client(number: int) -> None:
        nonlocal sent
        turn = number * len(requests) // clients
        reader = writer = None
        while not until(sent):
            sent += 1
            begun = time.perf_counter()
            try:
                if writer is None:
                    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
                assert reader is not None
                writer.write(requests[turn % len(requests)])
                head = await reader.readuntil(b"\r\n\r\n")
                tally.body = await reader.readexactly(_length(head))
            except (OSError, asyncio.IncompleteReadError):
                tally.lost += 1
                reader = writer = None
                await asyncio.sleep(0.1)
                continue
            tally.statuses.append(int(head[9:12]))
            tally.seconds.append(time.perf_counter() - begun)
            turn += 1
            if b"connection: close" in head.lower():
                writer.close()
                reader = writer = None
        if writer is not None:
            writer.close()

    await asyncio.gather(*(client(number) for number in range(clients)))
    return tally


def _length(head: bytes) -> int:
    at = head.lower().index(b"content-length:")
    return int(head[at + 15 : head.index(b"\r\n", at)])


@contextmanager
def server(
    command: Sequence[str], path: str = "ping", silent: bool = False
) -> Iterator[tuple[int, psutil.Process]]:
    """A server that is up: its port and its process; `command` is without its port.

    With `silent` nothing of what it writes is shown.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    process = subprocess.Popen(
        [*command, "--port", str(port)], start_new_session=True, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL if silent else None,
    )  # fmt: skip
    try:
        _wait(process, f"http://127.0.0.1:{port}/{path}")
        yield port, psutil.Process(process.pid)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


def _wait(process: subprocess.Popen[bytes], address: str) -> None:
    for _ in range(600):
        if process.poll() is not None:
            raise SystemExit(f"{process.args!r} ended")
        try:
            urllib.request.urlopen(address, timeout=5)  # nosec B310 # our own http://
            return
        except OSError:
            time.sleep(0.2)
    raise SystemExit(f"{address} did not answer in two minutes")
