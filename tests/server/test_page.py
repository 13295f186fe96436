"""The page of the real application, on the champion, in Chromium."""

from __future__ import annotations

import base64
import csv
import io
import json
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from selenium.webdriver.common.keys import Keys

from pneumonia.datasets.phantom import draw
from pneumonia.images.decoding import encode_png, read_grey
from tests.images.dicom_files import dicom_bytes
from tests.pipeline.clone import Clone
from tests.server.browser import Browser, needs_browser
from tests.server.rest import champion_predictions, running

pytestmark = [pytest.mark.slow, needs_browser]
MODEL = "models:/pneumonia-chest-xray@champion"


@pytest.fixture(scope="module")
def server(reproduced: Clone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the running application."""
    environment = {
        "MLFLOW_TRACKING_URI": f"sqlite:///{reproduced.path}/mlflow.db",
        "PYTHONPATH": f"{reproduced.path}/src",
    }
    command = [sys.executable, "-m", "pneumonia", "serve", "--model", MODEL]
    with running(command, tmp_path_factory.mktemp("server"), environment) as (address, *_):
        yield address


@pytest.fixture
def browser(chromium: Browser, server: str) -> Iterator[Browser]:
    """The page, newly loaded; at the end its console must be empty."""
    chromium.open(server)
    yield chromium
    assert chromium.complaints() == []


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn image."""
    file = tmp_path_factory.mktemp("images") / "image.png"
    file.write_bytes(encode_png(draw(5, 0).pixels))
    return file


def predict(server: str, file: Path) -> dict[str, Any]:
    """The prediction of /predict for one image."""
    request = urllib.request.Request(
        f"{server}/predict?layers=true", file.read_bytes(), {"Content-Type": "image/png"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)["predictions"][0]


def decoded(png: str, folder: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Pixels of a PNG in base64."""
    file = folder / "decoded.png"
    file.write_bytes(base64.b64decode(png))
    return read_grey(file)


def test_the_page_shows_the_response_of_predict(
    browser: Browser, server: str, image: Path, tmp_path: Path
) -> None:
    answer = predict(server, image)
    browser.choose(image)
    assert browser.id("label").text == answer["label"]
    assert float(browser.id("probability").get_attribute("value")) == answer["probability"]
    assert len(browser.all("#warnings li")) == len(answer["warnings"])
    overlaid = decoded(answer["heat_map_png"], tmp_path).astype(int)
    assert np.abs(browser.drawn().astype(int) - overlaid).max() <= 3
    browser.id("opacity").send_keys(Keys.HOME)
    assert (browser.drawn() == decoded(answer["image_png"], tmp_path)[..., None]).all()


def test_the_page_gives_the_probabilities_that_evaluate_wrote(
    browser: Browser, reproduced: Clone
) -> None:
    written = champion_predictions(reproduced).set_index("image_id")["probability"]
    images = reproduced.path / "data/prepared/images"
    browser.choose(*(images / f"{image_id}.png" for image_id in written.index))
    table = csv.DictReader(io.StringIO(browser.download()))
    told = {row["file"].removesuffix(".png"): float(row["probability"]) for row in table}
    assert told == pytest.approx(written.to_dict(), abs=1e-6)


def test_images_of_all_kinds_in_one_batch(browser: Browser, image: Path, tmp_path: Path) -> None:
    (tmp_path / "image.dcm").write_bytes(dicom_bytes(draw(5, 1).pixels))
    (tmp_path / "notes.txt").write_text("no image")
    browser.choose(image, tmp_path / "image.dcm", tmp_path / "notes.txt")
    assert browser.texts("#rows .name") == ["image.png", "image.dcm", "notes.txt"]
    assert set(browser.texts("#rows .predicted")) <= {"NORMAL", "PNEUMONIA"}
    assert browser.id("summary").text.endswith("1 without a prediction")
    browser.all("#rows .name")[2].send_keys(Keys.ENTER)
    assert "JPEG" in browser.id("problem-text").text


def test_drawn_images_and_the_model_card_are_available(browser: Browser, server: str) -> None:
    browser.id("all-samples").click()
    browser.settled()
    assert len(browser.texts("#rows .predicted")) == len(browser.all("#sample-list li"))
    card = browser.id("card-link").get_attribute("href")
    with urllib.request.urlopen(card, timeout=60) as response:
        assert "<html" in response.read().decode()


def test_the_page_is_accessible(browser: Browser, image: Path) -> None:
    assert browser.axe() == []
    browser.choose(image)
    assert browser.axe() == []
