"""The Grad-CAM page shows the files of `gradcam_report`, and is self-contained."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pneumonia.core.config import GradcamReportParams
from pneumonia.explain import gallery
from pneumonia.images.decoding import image_box
from pneumonia.reports import gradcam_page, style
from pneumonia.reports.gradcam_page import write_gradcam_page
from tests.explain.test_verdicts import GOOD
from tests.models.test_graphs import shipped

SIDE = 64
BAD = GOOD | {"randomised_rank": 0.9, "failed": "the maps still correlate 0.90"}


def exhibit(number: int, probability: float, known: bool = True) -> gallery.Exhibit:
    """An image of 80 by 60 px in its square, with a spot that both models found."""
    rng = np.random.default_rng(number)
    mask = np.zeros((SIDE, SIDE), bool)
    mask[20:30, 20:40] = True
    explanations = {
        model: gallery.Explanation(
            probability, 0.5, rng.random((4, 4)).astype(np.float32),
            rng.random((4, 4)).astype(np.float32), 1.0,
        )
        for model in ("scratch", "transfer")
    }  # fmt: skip
    image = rng.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
    box = image_box(80, 60, SIDE)
    return gallery.Exhibit(
        f"{number:016x}", "virus", image, box, mask if known else None, explanations
    )


@pytest.fixture(scope="module")
def gradcam(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the stage; the maps of scratch failed."""
    folder = tmp_path_factory.mktemp("gradcam_report")
    galleries = {
        "true_positive": [exhibit(1, 0.9), exhibit(2, 0.8), exhibit(3, 0.6)],
        "false_negative": [exhibit(4, 0.2)],
        "false_positive": [],
        "true_negative": [exhibit(5, 0.1, known=False)],
    }
    gallery.write_exhibits(folder / "exhibits.npz", galleries)
    (folder / "metrics.json").write_text(json.dumps({"scratch": BAD, "transfer": GOOD}))
    layers = {"scratch": ["re_lu", "features"], "transfer": ["block_1_add", "features"]}
    (folder / "layers.json").write_text(json.dumps(layers))
    steps = pd.DataFrame({
        "step": [0, 1, 2], "down_to": ["", "evidence", "conv"], "rank": [1, 0.2, 0],
        "ssim": [1, 0.3, 0.1], "pair_rank": [0.3, 0.1, 0], "pair_ssim": [0.4, 0.2, 0.1],
    })  # fmt: skip
    table = pd.concat([steps.assign(model=name) for name in layers])
    table.to_csv(folder / "randomisation.csv", index=False)
    return folder


def params(**changes: Any) -> GradcamReportParams:
    return shipped().gradcam_report.model_copy(update=changes)


def write(folder: Path, gradcam: Path, **changes: Any) -> str:
    """The page with changed params."""
    write_gradcam_page(folder, gradcam, "transfer", params(**changes))
    return (folder / "gradcam.html").read_text().replace("\xa0", " ")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, gradcam: Path) -> str:
    return write(tmp_path_factory.mktemp("page"), gradcam)


def pictures(text: str) -> list[Image.Image]:
    found = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", text)
    return [Image.open(io.BytesIO(base64.b64decode(one))) for one in found]


def test_the_page_is_self_contained(page: str) -> None:
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


def test_the_verdicts_are_in_words(page: str) -> None:
    assert "Checks passed: scratch 6 of 7, transfer 7 of 7." in page
    assert "No. With weights in random order the mean correlation with the trained maps" in page
    assert "64 images of 50 patients" in page
    for source in ("Saporta 2022", "Arun 2021", "Adebayo 2018", "Rong 2022", "Selvaraju 2017"):
        assert source in page


def test_a_failed_check_is_stated_in_the_lead(page: str) -> None:
    lead = page[page.index('<p class="lead">') : page.index("</p>")]
    assert "The heat maps of scratch failed their check: the maps still correlate 0.90." in lead
    assert "The heat maps of transfer failed" not in page


def test_the_same_files_give_the_same_bytes(page: str, gradcam: Path, tmp_path: Path) -> None:
    assert write(tmp_path, gradcam) == page
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.png")}
    assert written == {
        "agreement.png", "maps.png", "randomisation.png", "road.png",
        *(f"galleries/{group}.png" for group in gallery.GROUPS),
    }  # fmt: skip


def test_another_map_is_distinguished_from_the_served_one(
    page: str, gradcam: Path, tmp_path: Path
) -> None:
    assert "which the exported graph gives" in page
    layer = params().layer.model_copy(update={"scratch": "re_lu"})
    other = write(tmp_path, gradcam, method="hirescam", layer=layer, flips=True)
    assert "last activations, which is another map than that of scratch and transfer here" in other
    assert "HiResCAM uses a layer&#39;s activations A, here re_lu (scratch) and features" in other
    assert "mirrored image" in other


def test_hirescam_of_the_last_activations_is_the_served_map(gradcam: Path, tmp_path: Path) -> None:
    assert "which the exported graph gives" in write(tmp_path, gradcam, method="hirescam")


def test_an_empty_gallery_has_a_figure_too() -> None:
    style.apply()
    [axis] = gradcam_page.gallery([], 0.6).axes
    assert axis.texts[0].get_text() == "no such image"


def test_a_gallery_has_one_row_per_image() -> None:
    style.apply()
    figure = gradcam_page.gallery([exhibit(1, 0.9), exhibit(2, 0.2)], 0.6)
    titles = [axis.get_title("left") for axis in figure.axes]
    assert titles[0] == titles[5] == "image 00000000 (virus)"
    assert titles.count("transfer  0.900 ≥ 0.500") == titles.count("scratch  0.200 < 0.500") == 1
