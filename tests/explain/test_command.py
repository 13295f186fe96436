"""`pneumonia explain` on images of all kinds, by the real pipeline's models."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import image_bytes
from tests.pipeline.clone import Clone

IMAGE = np.random.default_rng(0).integers(0, 256, (60, 90), dtype=np.uint8)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    (tmp_path / "image.png").write_bytes(image_bytes(IMAGE, "PNG"))
    (tmp_path / "image two.jpeg").write_bytes(image_bytes(IMAGE))
    (tmp_path / "text.png").write_text("no image")
    return tmp_path


def explain(clone: Clone, *arguments: str | Path) -> tuple[int, list[str], list[str]]:
    ran = clone.run("python", "-m", "pneumonia", "explain", *map(str, arguments), PYTHONPATH="src")
    return ran.returncode, ran.stdout.splitlines(), ran.stderr.splitlines()


def test_the_command_is_installed_and_tells_its_options() -> None:
    command = Path(sys.executable).with_name("pneumonia")
    ran = subprocess.run([command, "explain", "--help"], capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("usage: pneumonia explain ")
    assert "--opacity" in ran.stdout


def test_images_are_explained_in_their_own_proportions(reproduced: Clone, images: Path) -> None:
    out = images / "out"
    code, lines, errors = explain(
        reproduced, images / "image.png", images / "image two.jpeg", "--output", out
    )
    assert (code, errors) == (0, [])
    assert [line.split(": ")[0] for line in lines] == [
        str(images / name) for name in ("image.png", "image two.jpeg")
    ]
    assert all("probability 0." in line for line in lines)
    pictures = sorted(out.iterdir())
    assert [one.name for one in pictures] == ["image two.jpeg.heat.png", "image.png.heat.png"]
    for picture in pictures:
        drawn = Image.open(io.BytesIO(picture.read_bytes()))
        assert (drawn.mode, drawn.size) == ("RGB", (90, 60))


def test_without_opacity_the_picture_is_the_image(reproduced: Clone, images: Path) -> None:
    code, _, _ = explain(
        reproduced, images / "image.png", "--opacity", "0", "--output", images / "out"
    )
    assert code == 0
    drawn = np.asarray(Image.open(images / "out" / "image.png.heat.png"))
    assert np.abs(drawn.astype(int) - IMAGE[..., None]).max() <= 1


def test_a_file_that_is_no_image_is_named_and_the_others_are_explained(
    reproduced: Clone, images: Path
) -> None:
    out = images / "out"
    code, lines, errors = explain(
        reproduced, images / "text.png", images / "gone.png", images / "image.png", "--output", out
    )
    assert code == 1
    assert len(lines) == 1
    assert errors == [
        f"explain: {images / 'text.png'}: not a JPEG, PNG or DICOM image",
        f"explain: {images / 'gone.png'}: No such file or directory",
    ]
    assert [one.name for one in out.iterdir()] == ["image.png.heat.png"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["image.png", "--opacity", "2"], "--opacity: should be 0 to 1, not 2"),
        (["a/image.png", "b/image.png"], "image.png: two files have this name"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    reproduced: Clone, arguments: list[str], message: str
) -> None:
    code, lines, [error] = explain(reproduced, *arguments)
    assert (code, lines) == (1, [])
    assert message in error


def test_without_a_model_the_mend_is_said(reproduced: Clone, images: Path, tmp_path: Path) -> None:
    ran = reproduced.run(
        "sh", "-c", f"cd '{tmp_path}' && python -m pneumonia explain image.png",
        PYTHONPATH=str(reproduced.path / "src"),
    )  # fmt: skip
    assert ran.returncode == 1
    assert "operating_point.json: no such file; `make repro` trains the models" in ran.stderr
