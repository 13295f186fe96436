"""`pneumonia explain` on films of all kinds, by the real pipeline's models."""

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

FILM = np.random.default_rng(0).integers(0, 256, (60, 90), dtype=np.uint8)


@pytest.fixture
def films(tmp_path: Path) -> Path:
    (tmp_path / "film.png").write_bytes(image_bytes(FILM, "PNG"))
    (tmp_path / "film two.jpeg").write_bytes(image_bytes(FILM))
    (tmp_path / "text.png").write_text("no film")
    return tmp_path


def explain(clone: Clone, *arguments: str | Path) -> tuple[int, list[str], list[str]]:
    ran = clone.run("python", "-m", "pneumonia", "explain", *map(str, arguments), PYTHONPATH="src")
    return ran.returncode, ran.stdout.splitlines(), ran.stderr.splitlines()


def test_the_command_is_installed_and_tells_its_options() -> None:
    command = Path(sys.executable).with_name("pneumonia")
    ran = subprocess.run([command, "explain", "--help"], capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("usage: pneumonia explain ")
    assert "--opacity" in ran.stdout


def test_films_are_explained_in_their_own_proportions(reproduced: Clone, films: Path) -> None:
    out = films / "out"
    code, lines, errors = explain(
        reproduced, films / "film.png", films / "film two.jpeg", "--output", out
    )
    assert (code, errors) == (0, [])
    assert [line.split(": ")[0] for line in lines] == [
        str(films / name) for name in ("film.png", "film two.jpeg")
    ]
    assert all("probability 0." in line for line in lines)
    pictures = sorted(out.iterdir())
    assert [one.name for one in pictures] == ["film two.jpeg.heat.png", "film.png.heat.png"]
    for picture in pictures:
        drawn = Image.open(io.BytesIO(picture.read_bytes()))
        assert (drawn.mode, drawn.size) == ("RGB", (90, 60))


def test_without_opacity_the_picture_is_the_film(reproduced: Clone, films: Path) -> None:
    code, _, _ = explain(
        reproduced, films / "film.png", "--opacity", "0", "--output", films / "out"
    )
    assert code == 0
    drawn = np.asarray(Image.open(films / "out" / "film.png.heat.png"))
    assert np.abs(drawn.astype(int) - FILM[..., None]).max() <= 1


def test_a_file_that_is_no_film_is_named_and_the_others_are_explained(
    reproduced: Clone, films: Path
) -> None:
    out = films / "out"
    code, lines, errors = explain(
        reproduced, films / "text.png", films / "gone.png", films / "film.png", "--output", out
    )
    assert code == 1
    assert len(lines) == 1
    assert errors == [
        f"explain: {films / 'text.png'}: not a JPEG, PNG or DICOM image",
        f"explain: {films / 'gone.png'}: No such file or directory",
    ]
    assert [one.name for one in out.iterdir()] == ["film.png.heat.png"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["film.png", "--opacity", "2"], "--opacity: should be 0 to 1, not 2"),
        (["a/film.png", "b/film.png"], "film.png: two files have this name"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    reproduced: Clone, arguments: list[str], message: str
) -> None:
    code, lines, [error] = explain(reproduced, *arguments)
    assert (code, lines) == (1, [])
    assert message in error


def test_without_a_model_the_mend_is_said(reproduced: Clone, films: Path, tmp_path: Path) -> None:
    ran = reproduced.run(
        "sh", "-c", f"cd '{tmp_path}' && python -m pneumonia explain film.png",
        PYTHONPATH=str(reproduced.path / "src"),
    )  # fmt: skip
    assert ran.returncode == 1
    assert "operating_point.json: no such file; `make repro` trains the models" in ran.stderr
