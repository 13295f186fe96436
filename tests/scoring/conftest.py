"""A small model in the layout of MLflow, and images to score."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pneumonia.inference.operating_point import OperatingPoint, OperatingPoints
from tests.conftest import SIZE, image_bytes
from tests.images.dicom_files import dicom_bytes
from tests.inference.test_pyfunc import write_graph
from tests.server.conftest import model_folder

__all__ = ["model_folder"]

THRESHOLD = 0.5


def write_model(folder: Path, threshold: float = THRESHOLD) -> Path:
    """A model whose logit is the mean grey of the image less 0.4; no statistics for warnings."""
    artifacts = folder / "artifacts"
    artifacts.mkdir(parents=True)
    write_graph(artifacts / "graph.onnx")
    point = OperatingPoint(slope=4.0, intercept=0.0, threshold=threshold, map_scale=1.0)
    OperatingPoints("small", {"small": point}).write(artifacts / "operating_point.json")
    return folder


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "small")


def write_images(folder: Path, count: int, side: int = SIZE) -> list[str]:
    """PNG images that brighten from one to the next, named in that order."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"image-{number:04d}.png" for number in range(count)]
    for number, name in enumerate(names):
        grey = np.full((side, side), 40 + number * 160 // count, np.uint8)
        (folder / name).write_bytes(image_bytes(grey, "PNG"))
    return names


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A folder with images of each kind, in folders, and files that are none."""
    root = tmp_path / "mixed"
    write_images(root, 3)
    (root / "below").mkdir()
    grey = np.random.default_rng(0).integers(0, 4096, (80, 70), np.uint16)
    (root / "below" / "image.DCM").write_bytes(dicom_bytes(grey))
    (root / "below" / "small.jpg").write_bytes(image_bytes(np.full((40, 30), 90, np.uint8)))
    (root / "below" / "text.png").write_text("no image")
    (root / "below" / "empty.jpeg").touch()
    (root / "notes.txt").write_text("passed over")
    (root / ".hidden.png").write_text("passed over")
    (root / ".cache").mkdir()
    (root / ".cache" / "image.png").write_text("passed over")
    return root
