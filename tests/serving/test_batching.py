"""Films that arrive together share a pass; each gets its own outputs."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import numpy as np
import pytest

from pneumonia.predictor import Graph
from pneumonia.serving.batching import Batcher
from tests.conftest import SIZE
from tests.data.test_image import grey
from tests.serving.test_model import write_graph


@pytest.fixture
def graph(tmp_path: Path) -> Graph:
    write_graph(tmp_path / "graph.onnx")
    return Graph(tmp_path / "graph.onnx")


FILMS = [grey(SIZE, SIZE, seed) for seed in range(7)]


def test_each_film_gets_what_it_would_get_alone(graph: Graph) -> None:
    passes: list[int] = []

    async def scene() -> list[tuple[np.float32, np.ndarray]]:
        batcher = Batcher(graph, largest=3, observe=passes.append)
        return await asyncio.gather(*(batcher.run(film) for film in FILMS))

    found = asyncio.run(scene())
    assert passes == [3, 3, 1]
    for film, (logit, heat_map) in zip(FILMS, found, strict=True):
        [alone], [its_map] = graph.run(film[None, ..., None])
        assert logit == pytest.approx(alone, abs=1e-6)
        assert heat_map == pytest.approx(its_map, abs=1e-6)


class Slow:
    """A graph whose pass waits until it is let go; or fails."""

    def __init__(self, graph: Graph, error: Exception | None = None) -> None:
        self.graph = graph
        self.error = error
        self.begun = threading.Event()
        self.go = threading.Event()

    def run(self, films: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.begun.set()
        assert self.go.wait(20)
        if self.error:
            raise self.error
        return self.graph.run(films)


def test_nobody_waits_for_company_and_who_comes_late_goes_together(graph: Graph) -> None:
    passes: list[int] = []
    slow = Slow(graph)

    async def scene() -> None:
        batcher = Batcher(slow, observe=passes.append)  # type: ignore[arg-type]
        first = asyncio.create_task(batcher.run(FILMS[0]))
        await asyncio.to_thread(slow.begun.wait, 20)
        late = [asyncio.create_task(batcher.run(film)) for film in FILMS[1:5]]
        await asyncio.sleep(0)
        late[0].cancel()
        slow.go.set()
        await asyncio.gather(first, *late[1:])

    asyncio.run(scene())
    assert passes == [1, 3]


def test_a_pass_that_fails_tells_its_films_and_no_others(graph: Graph) -> None:
    slow = Slow(graph, ValueError("broken"))
    slow.go.set()

    async def scene() -> None:
        batcher = Batcher(slow)  # type: ignore[arg-type]
        failed = await asyncio.gather(
            *(batcher.run(film) for film in FILMS[:2]), return_exceptions=True
        )
        assert [str(error) for error in failed] == ["broken"] * 2
        slow.error = None
        assert (await batcher.run(FILMS[0]))[1].shape == (SIZE, SIZE)

    asyncio.run(scene())
