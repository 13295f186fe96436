"""One forward pass for the films that are there at the same time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from pneumonia.predictor import Graph

Film = NDArray[np.uint8]
Outputs = tuple[np.float32, NDArray[np.float32]]


class Batcher:
    """Puts films that come from any request on an event loop through the graph together.

    Nobody waits for company: a film that finds the graph idle goes at once, and those that arrive
    during a pass make up the next one.
    """

    def __init__(
        self, graph: Graph, largest: int = 8, observe: Callable[[int], None] = lambda films: None
    ) -> None:
        """Take a graph; `observe` is told how many films each pass had, at most `largest`."""
        self._graph = graph
        self._largest = largest
        self._observe = observe
        self._waiting: deque[tuple[Film, asyncio.Future[Outputs]]] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="graph")

    async def run(self, film: Film) -> Outputs:
        """Logit and class activation map (h, w) of one film, uint8, (S, S)."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Outputs] = loop.create_future()
        self._waiting.append((film, future))
        if self._worker is None:
            self._worker = loop.create_task(self._work())
        return await future

    async def _work(self) -> None:
        try:
            while batch := self._next():
                await self._pass(batch)
        finally:
            self._worker = None

    def _next(self) -> list[tuple[Film, asyncio.Future[Outputs]]]:
        batch: list[tuple[Film, asyncio.Future[Outputs]]] = []
        while self._waiting and len(batch) < self._largest:
            film, future = self._waiting.popleft()
            if not future.done():  # cancelled, as its request ran out of time
                batch.append((film, future))
        return batch

    async def _pass(self, batch: list[tuple[Film, asyncio.Future[Outputs]]]) -> None:
        films = np.stack([film for film, _ in batch])[..., None]
        self._observe(len(batch))
        loop = asyncio.get_running_loop()
        try:
            logits, maps = await loop.run_in_executor(self._thread, self._graph.run, films)
        except Exception as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), logit, heat_map in zip(batch, logits, maps, strict=True):
            if not future.done():
                future.set_result((logit, heat_map))
