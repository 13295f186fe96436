"""The page on heat maps shows what it was given, and needs nothing else."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pneumonia.explain import gallery
from pneumonia.explain.checks import verdicts
from pneumonia.images.decoding import image_box
from pneumonia.reports import gradcam_page, style
from pneumonia.reports.gradcam_page import Report, write_gradcam_page
from tests.explain.test_verdicts import GOOD

SIDE = 64
BAD = GOOD | {"randomised_rank": 0.9}


def exhibit(number: int, probability: float, known: bool = True) -> gallery.Exhibit:
    """An image of 80 by 60 px in its square, with a spot that both models found."""
    rng = np.random.default_rng(number)
    mask = np.zeros((SIDE, SIDE), bool)
    mask[20:30, 20:40] = True
    answers = {
        model: gallery.Explained(
            probability, 0.5, rng.random((4, 4)).astype(np.float32),
            rng.random((4, 4)).astype(np.float32), 1.0,
        )
        for model in ("scratch", "transfer")
    }  # fmt: skip
    image = rng.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
    box = image_box(80, 60, SIDE)
    return gallery.Exhibit(f"{number:016x}", "virus", image, box, mask if known else None, answers)


def report(**changes: object) -> Report:
    galleries = {
        "true_positive": [exhibit(1, 0.9), exhibit(2, 0.8), exhibit(3, 0.6)],
        "false_negative": [exhibit(4, 0.2)],
        "false_positive": [],
        "true_negative": [exhibit(5, 0.1, known=False)],
    }
    given: dict[str, object] = {
        "method": "gradcam", "layers": {"scratch": "features", "transfer": "features"},
        "flips": False, "figures": {"scratch": BAD, "transfer": GOOD},
        "verdicts": {"scratch": verdicts(BAD, 0.5), "transfer": verdicts(GOOD, 0.5)},
        "galleries": galleries, "grids": {"scratch": (4, 4), "transfer": (4, 4)},
        "better": "transfer", "opacity": 0.6,
        "layers_there": {"scratch": ["re_lu"], "transfer": ["block_1_add"]},
    }  # fmt: skip
    return Report(**(given | changes))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("page")
    draw(folder)
    write_gradcam_page(folder, report())
    return (folder / "index.html").read_text()


def draw(folder: Path) -> None:
    style.apply()
    figures = {"scratch": BAD, "transfer": GOOD}
    steps = pd.DataFrame({
        "step": [0, 1, 2], "down_to": ["", "evidence", "conv"], "rank": [1, 0.2, 0],
        "ssim": [1, 0.3, 0.1], "pair_rank": [0.3, 0.1, 0], "pair_ssim": [0.4, 0.2, 0.1],
    })  # fmt: skip
    style.save(gradcam_page.map_scores(figures), folder / "maps.png")
    style.save(gradcam_page.road(figures), folder / "road.png")
    style.save(gradcam_page.agreement(figures), folder / "agreement.png")
    cascades = {"scratch": steps, "transfer": steps}
    style.save(gradcam_page.randomisation(cascades, 0.5), folder / "randomisation.png")


def pictures(text: str) -> list[Image.Image]:
    found = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", text)
    return [Image.open(io.BytesIO(base64.b64decode(one))) for one in found]


def test_the_page_is_whole(page: str) -> None:
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", page)
    assert not re.findall(r"url\((?!data:)", page)
    assert "http" not in page
    # The four figures, and of each of five images: itself, both models' maps over it, alone and in
    # cells; outlines of four; of the two that are called NORMAL both models' maps for that.
    assert len(pictures(page)) == 4 + 5 * (1 + 2 * 3) + 4 + 2 * 2
    assert len(page) < 8_000_000


def test_the_images_have_their_own_proportions(page: str) -> None:
    images = [one for one in pictures(page) if one.width == SIDE]
    assert len(images) == 5 * 7 + 4 + 4
    assert {one.size for one in images} == {(64, 48)}
    assert page.count("aspect-ratio: 64 / 48") == page.count("aspect-ratio")


def test_images_probabilities_and_ranks_are_named(page: str) -> None:
    for rank in ("most confident", "median", "least confident"):
        assert f"virus: {rank}" in page
    assert page.count("0.900 ≥ 0.500: PNEUMONIA") == 2
    assert page.count("0.200 &lt; 0.500: NORMAL") == 2
    assert "transfer has none on the test images." in page
    assert "for NORMAL</div>" in page


def test_the_verdicts_are_plain(page: str) -> None:
    assert "scratch: 6 of 7 checks speak for its maps; transfer: 7 of 7 checks" in page
    assert "No. With weights in random order they correlate on average at most 0.90" in page
    assert "Yes. With weights in random order they correlate on average at most 0.10" in page
    assert "64 images of 50 patients" in page
    for source in ("Saporta 2022", "Arun 2021", "Adebayo 2018", "Rong 2022", "Selvaraju 2017"):
        assert source in page


def test_the_same_report_gives_the_same_bytes(page: str, tmp_path: Path) -> None:
    draw(tmp_path)
    write_gradcam_page(tmp_path, report())
    assert (tmp_path / "index.html").read_text() == page


def test_another_map_is_not_said_to_be_the_served_one(page: str, tmp_path: Path) -> None:
    assert "which the exported graph gives" in page
    draw(tmp_path)
    layers = {"scratch": "re_lu", "transfer": "features"}
    write_gradcam_page(tmp_path, report(method="hirescam", layers=layers, flips=True))
    other = (tmp_path / "index.html").read_text()
    assert "last activations, which is another map than that of scratch and transfer here" in other
    assert "HiResCAM takes a layer&#39;s activations A, here re_lu (scratch) and features" in other
    assert "mirror image" in other


def test_hirescam_of_the_last_activations_is_the_served_map(tmp_path: Path) -> None:
    draw(tmp_path)
    write_gradcam_page(tmp_path, report(method="hirescam"))
    assert "which the exported graph gives" in (tmp_path / "index.html").read_text()


def test_an_empty_gallery_has_a_picture_too() -> None:
    style.apply()
    [axis] = gradcam_page.gallery([], 0.6).axes
    assert axis.texts[0].get_text() == "no such image"


def test_a_gallery_has_a_row_an_image() -> None:
    style.apply()
    figure = gradcam_page.gallery([exhibit(1, 0.9), exhibit(2, 0.2)], 0.6)
    titles = [axis.get_title("left") for axis in figure.axes]
    assert titles[0] == titles[5] == "image 00000000 (virus)"
    assert titles.count("transfer  0.900 ≥ 0.500") == titles.count("scratch  0.200 < 0.500") == 1
