"""`pneumonia explain` with the champion, and with a model as it was trained."""

from __future__ import annotations

import io
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
    heat_maps = sorted(out.iterdir())
    assert [one.name for one in heat_maps] == ["image two.jpeg.heat.png", "image.png.heat.png"]
    for heat_map in heat_maps:
        drawn = Image.open(io.BytesIO(heat_map.read_bytes()))
        assert (drawn.mode, drawn.size) == ("RGB", (90, 60))


def test_without_opacity_the_heat_map_is_the_image(reproduced: Clone, images: Path) -> None:
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
def test_wrong_options_are_refused(reproduced: Clone, arguments: list[str], message: str) -> None:
    code, lines, [error] = explain(reproduced, *arguments)
    assert (code, lines) == (1, [])
    assert message in error


def test_a_model_can_be_one_that_was_trained_here(reproduced: Clone, images: Path) -> None:
    probabilities = set()
    for model in ("scratch", "transfer"):
        out = images / model
        code, [line], _ = explain(
            reproduced, images / "image.png", "--model", model, "--output", out
        )
        assert code == 0
        assert (out / "image.png.heat.png").is_file()
        probabilities.add(line.split("probability ")[1].split()[0])
    assert len(probabilities) == 2


def test_without_a_model_the_remedy_is_named(reproduced: Clone, tmp_path: Path) -> None:
    for options, message in (
        ("", "explain: params.yaml: no such file; run from the repository's root"),
        ("--model scratch", "operating_point.json: no such file; `make repro` trains the models"),
    ):
        ran = reproduced.run(
            "sh", "-c", f"cd '{tmp_path}' && python -m pneumonia explain image.png {options}",
            PYTHONPATH=str(reproduced.path / "src"),
        )  # fmt: skip
        assert ran.returncode == 1
        [line] = ran.stderr.splitlines()
        assert message in line
