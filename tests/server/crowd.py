"""Clients that send requests, each over one connection, while the server is stopped."""

from __future__ import annotations

import http.client
import json
import threading
from collections import Counter
from collections.abc import Callable
from time import monotonic

ENOUGH = 3  # answers that each client has before the stop
IDLE = 2  # s after which no client relies on its connection; the server closes it after 5


class Crowd:
    """Counts what becomes of requests.

    Attributes:
        counts: "answered" with a label for the image; "refused" with a 503 that says when to come
            again, after which the client stays away; "gone", no connection could be made; else
            what was wrong. A client ends with any but the first.
    """

    def __init__(self, port: int, image: bytes, size: int) -> None:
        self.counts: Counter[str] = Counter()
        self._port, self._image, self._size = port, image, size
        self._served = threading.Semaphore(0)

    def during(self, stop: Callable[[], None]) -> None:
        """Ask; stop the server in the midst; wait until every client has ended."""
        clients = [threading.Thread(target=self._ask_on) for _ in range(self._size)]
        for client in clients:
            client.start()
        for _ in range(ENOUGH * self._size):
            assert self._served.acquire(timeout=60), self.counts
        stop()
        for client in clients:
            client.join(60)
            assert not client.is_alive(), self.counts

    def _ask_on(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        outcome, last = "answered", monotonic()
        while outcome == "answered":
            if monotonic() - last > IDLE:  # a machine that was held up
                connection.close()
            outcome, last = self._ask(connection), monotonic()
            self.counts[outcome] += 1
            self._served.release()
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection) -> str:
        try:
            if connection.sock is None:
                connection.connect()
        except ConnectionRefusedError:
            return "gone"
        except OSError as error:
            return f"connecting: {error!r}"
        try:
            connection.request("POST", "/predict", self._image, {"Content-Type": "image/png"})
            response = connection.getresponse()
            answer = json.load(response)
        except (OSError, http.client.HTTPException, ValueError) as error:
            return f"lost: {error!r}"
        if response.status == 503 and response.headers["Retry-After"]:
            return "refused"
        label = answer.get("predictions", [{}])[0].get("label")
        return "answered" if response.status == 200 and label else f"wrong: {response.status}"
