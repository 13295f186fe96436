"""HTTP clients that keep a server busy and use little CPU: one process, prepared requests."""

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
    """The responses that clients received.

    Attributes:
        statuses: status of each response, in the order of arrival.
        seconds: time of each response, from the first byte sent to the last byte received.
        lost: number of requests without a complete response.
        body: content of the last response.
    """

    statuses: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    lost: int = 0
    body: bytes = b""


def post(path: str, body: bytes, content_type: str = "application/octet-stream") -> bytes:
    """The bytes of a POST request on a connection that stays open."""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}"
    return f"{head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def keep_busy(
    port: int, clients: int, requests: Sequence[bytes], until: Callable[[int], bool]
) -> Tally:
    """Send requests from several clients at once; each client waits for its response.

    Args:
        port: port of a server on this machine.
        clients: number of clients. They begin at different requests.
        requests: made by `post`; each client repeats them.
        until: tells from the number of requests sent so far whether to stop.
    """
    tally = Tally()
    sent = 0

    async def client(number: int) -> None:
        nonlocal sent
        turn = number * len(requests) // clients
        reader = writer = None
        while not until(sent):
            sent += 1
            started = time.perf_counter()
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
            tally.seconds.append(time.perf_counter() - started)
            turn += 1
            if b"connection: close" in head.lower():
                writer.close()
                reader = writer = None
        if writer is not None:
            writer.close()

    await asyncio.gather(*(client(number) for number in range(clients)))
    return tally


def _length(head: bytes) -> int:
    begin = head.lower().index(b"content-length:")
    return int(head[begin + 15 : head.index(b"\r\n", begin)])


@contextmanager
def server(
    command: Sequence[str], path: str = "ping", silent: bool = False
) -> Iterator[tuple[int, psutil.Process]]:
    """Start a server on a free port, wait until it answers, and stop it afterwards.

    Args:
        command: the program and its arguments, without the port.
        path: path of an address that answers when the server is ready.
        silent: hide what the server prints on standard error.

    Yields:
        port and process.
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
            urllib.request.urlopen(address, timeout=5)  # nosec B310 # a local address
            return
        except OSError:
            time.sleep(0.2)
    raise SystemExit(f"{address} did not answer in two minutes")
