"""Two Ray nodes on this machine write the same bytes as one process, even if a node is killed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pneumonia.core.config import EngineParams
from pneumonia.datasets.prepare import prepare
from pneumonia.datasets.sources import open_source
from pneumonia.scoring.score import SCORED, Counts, open_job, score_here, score_on_ray
from tests.conftest import phantom_params, prepare_params
from tests.pipeline.clone import make_clone
from tests.scoring.conftest import small_model
from tests.scoring.test_score import hashes, job

__all__ = ["small_model"]

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
pytest.importorskip("ray", reason="Ray is not installed: make setup-scale")
pytestmark = pytest.mark.slow

MEMORY = 100_000_000  # bytes of each node's object store


class Nodes:
    """Two nodes of one core each, the second of which may be killed."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        options: dict[str, Any] = {"num_cpus": 1, "object_store_memory": MEMORY}
        head = options | {"include_dashboard": False}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self._second = self._cluster.add_node(**options)
        self.address: str = self._cluster.address

    def kill_second_if_working(self) -> bool:
        """Kill the second node, raylet and workers, with -9; False if nothing works there yet."""
        raylet = psutil.Process(self._second.all_processes["raylet"][0].process.pid)
        processes = [raylet, *raylet.children(recursive=True)]
        if not any("MapWorker" in " ".join(one.cmdline()) for one in processes):
            return False
        for process in processes:
            process.kill()
        return True

    def close(self) -> None:
        self._cluster.shutdown()


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    cluster = Nodes()
    yield cluster
    cluster.close()


def draw_images(folder: Path, count: int) -> None:
    """Hard links to sixty phantoms, and a file that is no image."""
    (folder / "drawn").mkdir(parents=True)
    for number, image in enumerate(open_source(phantom_params(60))):
        read = image.read()
        (folder / "drawn" / f"{number}.png").write_bytes(
            read[0] if isinstance(read, tuple) else read
        )
    drawn = list((folder / "drawn").iterdir())
    for number in range(len(drawn), count - 1):
        os.link(drawn[number % len(drawn)], folder / f"image-{number:06d}.png")
    (folder / "text.png").write_text("no image")


@pytest.mark.parametrize("images", [600, pytest.param(20_000, marks=pytest.mark.long)])
def test_if_a_node_is_killed_no_row_is_lost_or_written_twice(
    images: int, nodes: Nodes, small_model: Path, tmp_path: Path
) -> None:
    draw_images(tmp_path / "images", images)
    part = images // 30
    here = job(tmp_path / "images", small_model, tmp_path / "here", rows=part)
    list(score_here(here, open_job(here), 2))
    there = job(tmp_path / "images", small_model, tmp_path / "there", rows=part)
    counts, killed = Counts(), False
    for some in score_on_ray(there, open_job(there), nodes.address):
        counts += some
        # Until the second node has a worker, the first one scores alone.
        killed = killed or nodes.kill_second_if_working()
    assert killed
    assert counts == {SCORED: images - 1, "not_an_image": 1}
    assert hashes(tmp_path / "there") == hashes(tmp_path / "here")


def test_prepared_by_ray_a_folder_has_the_same_bytes(nodes: Nodes, tmp_path: Path) -> None:
    images = open_source(phantom_params())
    engines = {"local": "-", "ray": nodes.address}
    for name, address in engines.items():
        (tmp_path / name).mkdir()
        engine = EngineParams.model_validate({"prepare": name, "ray_address": address})
        prepare(images, prepare_params(0.3, seed=7), tmp_path / name, engine)
    local, ray = (contents(tmp_path / name) for name in engines)
    assert len(local) > len(images)
    assert ray == local


def contents(folder: Path) -> dict[str, bytes]:
    """What the files in and below a folder hold."""
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*") if file.is_file()
    }  # fmt: skip


def test_the_engine_is_not_in_dvc_lock(tmp_path: Path) -> None:
    clone = make_clone(tmp_path / "clone")
    assert clone.repro("prepare") == ["prepare"]
    lock = (clone.path / "dvc.lock").read_text()
    clone.set_param("prepare", "ray")
    clone.set_param("ray_address", "local")
    assert clone.repro("prepare") == []
    assert clone.repro("--force", "prepare") == ["prepare"]
    assert (clone.path / "dvc.lock").read_text() == lock
