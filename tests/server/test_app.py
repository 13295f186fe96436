"""Responses of the application to valid requests."""

from __future__ import annotations

import base64
import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from pneumonia.images.decoding import decode
from pneumonia.inference.predictor import NOTICE, Graph
from pneumonia.inference.warnings import ImageWarning
from tests.conftest import SIZE
from tests.images.dicom_files import dicom_bytes
from tests.images.test_decoding import smooth_image
from tests.server.registered import NAME, POINT


def picture(answer: dict[str, Any], key: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(answer[key])))


def predict(client: TestClient, image: bytes, query: str = "") -> dict[str, Any]:
    response = client.post(
        f"/predict{query}", content=image, headers={"Content-Type": "application/octet-stream"}
    )
    assert response.status_code == 200, response.text
    return response.json()["predictions"][0]


def test_an_image_is_predicted_by_the_graph(
    client: TestClient, model_folder: Path, images: list[bytes]
) -> None:
    square = decode(images[1], SIZE).pixels
    graph = Graph(model_folder / "artifacts/graph.onnx")
    [logit], [heat_map] = graph.run(square[None, ..., None])
    body = client.post("/predict", content=images[1], headers={"Content-Type": "image/png"}).json()
    assert body["model"] == {"name": NAME, "version": "1", "sha256": graph.sha256}
    assert body["notice"] == NOTICE
    [answer] = body["predictions"]
    probability = POINT.probability(np.asarray(logit))
    assert answer["probability"] == pytest.approx(float(probability), abs=1e-6)
    assert answer["threshold"] == POINT.threshold
    assert answer["label"] == ("PNEUMONIA" if probability >= POINT.threshold else "NORMAL")
    assert answer["heat_map"]["grid"] == pytest.approx(heat_map, abs=1e-6)
    assert answer["heat_map"]["scale"] == POINT.map_scale
    assert answer["milliseconds"] > 0
    assert answer["error"] is None


def test_both_labels_are_given(client: TestClient, images: list[bytes]) -> None:
    assert [predict(client, image)["label"] for image in (images[0], images[3])] == [
        "NORMAL",
        "PNEUMONIA",
    ]


def test_the_layers_are_the_image_and_the_map_that_make_the_overlay(
    client: TestClient, images: list[bytes]
) -> None:
    plain = predict(client, images[2])
    assert "image_png" not in plain and "heat_layer_png" not in plain
    answer = predict(client, images[2], "?layers=true")
    image = np.asarray(picture(answer, "image_png"))
    assert np.array_equal(image, decode(images[2], SIZE).pixels)
    layer = np.asarray(picture(answer, "heat_layer_png")).astype(float)
    assert layer.shape == (SIZE, SIZE, 4)
    opacity = 0.6 * layer[..., 3:] / 255
    laid_over = (1 - opacity) * image[..., None] + opacity * layer[..., :3]
    shown = np.asarray(picture(answer, "heat_map_png")).astype(float)
    assert np.abs(laid_over - shown).max() <= 1


def test_images_of_a_form_are_predicted_in_order(client: TestClient, images: list[bytes]) -> None:
    names = ["a.png", "ü ber.png", "../../etc/b.png", "C:\\images\\c.png"]
    form = [("files", (name, image)) for name, image in zip(names, images, strict=True)]
    answers = client.post("/predict", files=form).json()["predictions"]
    assert [answer["file"] for answer in answers] == ["a.png", "ü ber.png", "b.png", "c.png"]
    alone = [predict(client, image)["probability"] for image in images]
    assert [answer["probability"] for answer in answers] == pytest.approx(alone, abs=1e-6)


def test_a_dicom_image_is_predicted_like_its_square(client: TestClient) -> None:
    image = dicom_bytes(smooth_image(90, 70).astype(np.uint16) * 16, BitsStored=12)
    response = client.post(
        "/predict", content=image, headers={"Content-Type": "application/dicom"}
    ).json()
    form = client.post("/predict", files={"files": ("image", image)}).json()
    [answer], [other] = response["predictions"], form["predictions"]
    assert answer["label"] == "NORMAL"
    assert answer["probability"] == pytest.approx(other["probability"], abs=1e-6)


def test_a_bad_image_has_the_reason_and_the_others_are_predicted(
    client: TestClient, images: list[bytes]
) -> None:
    form = [("files", ("good.png", images[0])), ("files", ("bad.txt", b"no image"))]
    good, bad = client.post("/predict", files=form).json()["predictions"]
    assert good["label"] == "NORMAL"
    assert bad["file"] == "bad.txt"
    assert bad["error"]["code"] == "not_an_image"
    assert {value for key, value in bad.items() if key not in ("file", "error")} == {None}


def as_csv(images: list[str]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows([["image"], *([image] for image in images)])
    return text.getvalue()


def test_every_form_of_request_gives_the_same_prediction(
    client: TestClient, images: list[bytes]
) -> None:
    expected = [predict(client, image) for image in images]
    texts = [base64.b64encode(image).decode() for image in images]
    bodies = {
        "records": {"dataframe_records": [{"image": text} for text in texts]},
        "split": {"dataframe_split": {"columns": ["image"], "data": [[text] for text in texts]}},
        "inputs": {"inputs": {"image": texts}},
        "instances": {"instances": [{"image": text} for text in texts]},
    }
    found = {
        kind: client.post("/invocations", json=body).json()["predictions"]
        for kind, body in bodies.items()
    }
    found["csv"] = client.post(
        "/invocations", content=as_csv(texts), headers={"Content-Type": "text/csv"}
    ).json()["predictions"]
    for answers in found.values():
        for answer, known in zip(answers, expected, strict=True):
            assert answer["error"] == ""
            assert answer["probability"] == pytest.approx(known["probability"], abs=1e-6)
            assert answer["heat_map"] == pytest.approx(
                np.asarray(known["heat_map"]["grid"]), abs=1e-6
            )
            assert answer["heat_map_png"] == known["heat_map_png"]
            assert answer["warnings"] == known["warnings"]


@pytest.mark.parametrize("path", ["/ping", "/health", "/version"])
def test_mlflow_s_own_routes_stay(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 200


def test_the_model_says_where_it_comes_from(client: TestClient, model_folder: Path) -> None:
    known = client.get("/model").json()
    assert (known["name"], known["version"], known["source"]) == (NAME, "1", "scratch")
    sha256 = Graph(model_folder / "artifacts/graph.onnx").sha256
    assert known["hashes"]["graph_sha256"] == sha256
    assert len(known["hashes"]["weights_sha256"]) == 64
    assert known["threshold"] == POINT.threshold
    assert known["metrics"]["test"]["auc"] == {"value": 0.9, "low": 0.8, "high": 0.95}
    assert known["metrics"]["test"]["mcc"] == {"value": 0.5, "low": None, "high": None}
    assert known["data"] == {"digest": "d" * 64, "image_size": SIZE} | {"image_size": 64}
    assert known["training"]["params"]["augment"] == {"gamma": 0.1}
    page = client.get(known["card"])
    assert "<title>Card</title>" in page.text
    assert "script" not in page.headers["Content-Security-Policy"]


def test_the_samples_are_drawn_images_of_both_classes(client: TestClient) -> None:
    samples = client.get("/samples/").json()
    assert [one["label"] for one in samples] == ["NORMAL"] * 3 + ["PNEUMONIA"] * 3
    for one in samples:
        response = client.get(one["url"])
        assert response.headers["Content-Type"] == "image/png"
        image = decode(response.content, SIZE)
        assert min(image.width, image.height) == 224
    assert client.get("/samples/other.png").status_code == 404


def test_prometheus_counts_requests_images_and_steps(
    client: TestClient, images: list[bytes]
) -> None:
    def count(line: str) -> float:
        for found in client.get("/metrics").text.splitlines():
            if found.startswith(line):
                return float(found.split()[-1])
        return 0.0

    lines = [
        'pneumonia_requests_total{method="POST",route="/predict",status="200"}',
        'pneumonia_images_total{answer="NORMAL"}',
        'pneumonia_images_total{answer="not_an_image"}',
        'pneumonia_step_seconds_count{step="infer"}',
        'pneumonia_step_seconds_count{step="draw"}',
    ]
    before = [count(line) for line in lines]
    client.post("/predict", files=[("files", ("a", images[0])), ("files", ("b", b"no image"))])
    after = [count(line) for line in lines]
    assert [now - then for now, then in zip(after, before, strict=True)] == [1] * 5
    assert count('pneumonia_model_info{graph_sha256="') == 1


def test_the_description_names_every_route_and_its_errors(client: TestClient) -> None:
    described = client.get("/openapi.json").json()
    assert set(described["paths"]) == {
        "/predict", "/model", "/model/card", "/metrics", "/samples/", "/samples/{name}",
        "/invocations", "/ping", "/health", "/version",
    }  # fmt: skip
    for path in ("/predict", "/invocations"):
        responses = described["paths"][path]["post"]["responses"]
        assert set(responses) == {"200", "400", "413", "415", "422", "429", "503"}
    assert client.get("/docs").status_code == 404


def test_every_response_has_the_security_headers(client: TestClient) -> None:
    for path in ("/model", "/ping", "/openapi.json", "/nothing", "/model/card"):
        headers = client.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert "unsafe-eval" not in headers["Content-Security-Policy"]


def test_both_routes_give_warnings(
    client: TestClient, images: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = [{"code": "doubtful", "message": "take another"}]
    warning = ImageWarning(**told[0])
    monkeypatch.setattr("pneumonia.inference.predictor.warn", lambda *_: [warning])
    assert predict(client, images[0])["warnings"] == told
    text = base64.b64encode(images[0]).decode()
    body = json.dumps({"dataframe_records": [{"image": text}]})
    response = client.post(
        "/invocations", content=body, headers={"Content-Type": "application/json"}
    )
    assert response.json()["predictions"][0]["warnings"] == told
