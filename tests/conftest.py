"""Shared by all tests: a reproducible Hypothesis, small images, a small prepared data set."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray
from PIL import Image

from pneumonia.core.config import DataParams, MedmnistParams, PhantomParams, PrepareParams
from pneumonia.datasets.prepare import prepare
from pneumonia.datasets.sources import open_source
from tests.pipeline.clone import reproduced

__all__ = ["reproduced"]

settings.register_profile(
    "steady",
    derandomize=True,
    deadline=None,
    max_examples=50,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("steady")


# Folders of tests whose files share a clone or servers.
TOGETHER = ("pipeline", "tracking", "registry")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """In a parallel run, keep tests that share fixtures or a clone on one worker."""
    for item in items:
        group = item.path.parent if item.path.parent.name in TOGETHER else item.path
        item.add_marker(pytest.mark.xdist_group(str(group)))


SIZE = 64
# Writes files for the source `folder`: {split/CLASS/name: bytes}.
MakeFolder = Callable[[dict[str, bytes]], Path]


def image_bytes(pixels: NDArray[Any], image_format: str = "JPEG", **options: Any) -> bytes:
    """The bytes of an image file with these pixels, in a format of Pillow."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=image_format, **options)
    return buffer.getvalue()


def some_image(seed: int, height: int = 48, width: int = 64) -> bytes:
    """A JPEG file with random pixels, another one for each seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    return image_bytes(pixels)


def kermany(names: Sequence[str] = ()) -> dict[str, bytes]:
    """A tiny data set with names as in the Kermany set, and the files `names` in addition.

    Both classes are in both splits.
    """
    files = [
        "train/NORMAL/IM-0115-0001.jpeg",
        "train/NORMAL/IM-0117-0001.jpeg",
        "train/NORMAL/NORMAL2-IM-0115-0001.jpeg",
        "train/PNEUMONIA/person1_bacteria_1.jpeg",
        "train/PNEUMONIA/person1_bacteria_2.jpeg",
        "train/PNEUMONIA/person1_virus_6.jpeg",
        "train/PNEUMONIA/person2_bacteria_3.jpeg",
        "test/NORMAL/IM-0001-0001.jpeg",
        "test/PNEUMONIA/person100_bacteria_475.jpeg",
        *names,
    ]
    return {name: some_image(number) for number, name in enumerate(files)}


@pytest.fixture
def make_folder(tmp_path: Path) -> MakeFolder:
    """A function that writes files into a new folder and returns the folder."""

    def make(files: dict[str, bytes]) -> Path:
        root = tmp_path / "source"
        for name, payload in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(payload)
        return root

    return make


def data_params(source: str, path: Path | str = "-", **given: Any) -> DataParams:
    """The block `data` with default values, changed by `given`."""
    block: dict[str, Any] = {
        "patient_pattern": "", "patient_csv": "",
        "medmnist": MedmnistParams(size=28), "phantom": PhantomParams(images=40, seed=0),
    }  # fmt: skip
    return DataParams.model_validate({**block, "source": source, "path": str(path), **given})


def folder_params(path: Path, **given: Any) -> DataParams:
    """The block `data` for a folder of images."""
    return data_params("folder", path, **given)


def phantom_params(images: int = 40) -> DataParams:
    """The block `data` for drawn images."""
    return data_params("phantom", phantom=PhantomParams(images=images, seed=7))


def prepare_params(
    validation: float = 0.4, seed: int = 0, size: int = SIZE, **given: Any
) -> PrepareParams:
    """The block `prepare` with default values, changed by `given`."""
    block: dict[str, Any] = {"on_bad_image": "fail", "official_test": True, "test": 0.1}
    block |= {"size": size, "validation": validation, "seed": seed, **given}
    return PrepareParams.model_validate(block)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared folder with 40 drawn images of 64 px. Tests must not change it."""
    folder = tmp_path_factory.mktemp("prepared")
    prepare(open_source(phantom_params()), prepare_params(0.3, seed=7), folder)
    return folder
