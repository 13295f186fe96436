"""`mlflow models serve` and the application on the champion, over HTTP: equal predictions."""

from __future__ import annotations

import base64
import io
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pneumonia.images.decoding import decode, encode_png
from pneumonia.inference.warnings import REMEDIES
from tests.images.dicom_files import dicom_bytes
from tests.images.test_decoding import smooth_image
from tests.pipeline.clone import Clone
from tests.server.rest import (
    ask,
    champion_predictions,
    in_base64,
    records,
    running,
)

MODEL = "models:/pneumonia-chest-xray@champion"


COMMANDS = {
    "mlflow": ["mlflow", "models", "serve", "--env-manager", "local", "--model-uri"],
    "application": [sys.executable, "-m", "pneumonia", "serve", "--model"],
}


@pytest.fixture(scope="module", params=COMMANDS)
def server(
    request: pytest.FixtureRequest, reproduced: Clone, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Address of a running server, of either kind."""
    environment = {
        "MLFLOW_TRACKING_URI": f"sqlite:///{reproduced.path}/mlflow.db",
        "PYTHONPATH": f"{reproduced.path}/src",
        "PNEUMONIA_MAX_IMAGES": "1000",
    }
    command = [*COMMANDS[request.param], MODEL]
    with running(command, tmp_path_factory.mktemp("elsewhere"), environment) as (address, *_):
        yield address


def test_rest_gives_the_probabilities_that_evaluate_wrote(server: str, reproduced: Clone) -> None:
    table = champion_predictions(reproduced)
    answers = ask(server, records(reproduced, table))
    assert [answer["probability"] for answer in answers] == pytest.approx(
        list(table["probability"]), abs=1e-6
    )
    for answer in answers:
        positive = answer["probability"] >= answer["threshold"]
        assert answer["label"] == ("PNEUMONIA" if positive else "NORMAL")
        assert answer["error"] == ""
        assert answer["version"] == "1"
        assert "Not a medical device" in answer["notice"]


def test_the_heat_map_is_a_png_of_the_image(server: str, reproduced: Clone) -> None:
    name = champion_predictions(reproduced)["image_id"].iloc[0]
    file = reproduced.path / f"data/prepared/images/{name}.png"
    [answer] = ask(server, {"dataframe_split": {"columns": ["image"], "data": [[in_base64(file)]]}})
    heat_map = Image.open(io.BytesIO(base64.b64decode(answer["heat_map_png"])))
    assert (heat_map.mode, heat_map.size) == ("RGB", (64, 64))


def test_every_form_of_request_gives_the_same_prediction(server: str, reproduced: Clone) -> None:
    name = champion_predictions(reproduced)["image_id"].iloc[0]
    image = in_base64(reproduced.path / f"data/prepared/images/{name}.png")
    bodies: list[dict[str, Any]] = [
        {"dataframe_records": [{"image": image}]},
        {"dataframe_split": {"columns": ["image"], "data": [[image]]}},
        {"inputs": {"image": [image]}},
        {"instances": [{"image": image}]},
    ]
    first, *others = [ask(server, body) for body in bodies]
    assert all(other == first for other in others)


def test_a_dicom_image_is_predicted_like_its_square(server: str) -> None:
    payload = dicom_bytes(smooth_image(90, 70).astype(np.uint16) * 16, BitsStored=12)
    square = encode_png(decode(payload, 64).pixels)
    rows = [{"image": base64.b64encode(image).decode()} for image in (payload, square)]
    image, expected = ask(server, {"dataframe_records": rows})
    assert image["error"] == ""
    assert image == expected


def test_a_bad_image_has_the_reason_and_the_others_are_predicted(
    server: str, reproduced: Clone
) -> None:
    name = champion_predictions(reproduced)["image_id"].iloc[0]
    image = in_base64(reproduced.path / f"data/prepared/images/{name}.png")
    text = base64.b64encode(b"no image").decode()
    good, bad = ask(server, {"dataframe_records": [{"image": image}, {"image": text}]})
    assert good["label"] in ("NORMAL", "PNEUMONIA")
    assert bad["error"] == REMEDIES["not_an_image"]
    assert bad["label"] is None
    assert bad["probability"] is None
