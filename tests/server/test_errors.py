"""Errors of the application: one line, and nothing of what was sent."""

from __future__ import annotations

import base64
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from pneumonia.images.limits import ImageError
from pneumonia.inference.warnings import REMEDIES, image_error
from pneumonia.server.limits import Limits
from tests.conftest import image_bytes
from tests.images.dicom_files import dicom_bytes
from tests.images.test_decoding import grey, smooth_image
from tests.pipeline.imports import ROOT
from tests.server.conftest import MakeClient

SECRET = "Jane-Doe-1970"  # stands for whatever must not come back
JSON = {"Content-Type": "application/json"}
CSV = {"Content-Type": "text/csv"}
FORM = {"Content-Type": "multipart/form-data; boundary=x"}
PART = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'


def records(rows: list[Any]) -> bytes:
    return json.dumps({"dataframe_records": rows}).encode()


BAD = {
    "no media type": ("/predict", b"", {}, 415, "Content-Type"),
    "text": ("/predict", SECRET.encode(), {"Content-Type": "text/plain"}, 415, "Content-Type"),
    "compressed": (
        "/predict", b"", {"Content-Type": "image/png", "Content-Encoding": "gzip"}, 415,
        "Content-Encoding",
    ),
    "empty image": ("/predict", b"", {"Content-Type": "image/png"}, 422, "body"),
    "no image": ("/predict", SECRET.encode(), {"Content-Type": "image/png"}, 422, "body"),
    "form without boundary": (
        "/predict", PART, {"Content-Type": "multipart/form-data"}, 400, "body"
    ),
    "form that breaks off": ("/predict", PART + SECRET.encode(), FORM, 400, "body"),
    "no form": ("/predict", SECRET.encode(), FORM, 400, "body"),
    "form without images": (
        "/predict", PART.replace(b"files", SECRET.encode()) + b"\r\n--x--\r\n", FORM, 422, "files",
    ),
    "layers": (f"/predict?layers={SECRET}", b"", {"Content-Type": "image/png"}, 422, "layers"),
    "no path": (f"/{SECRET}", b"", {}, 404, "path"),
    "invocations, no media type": ("/invocations", b"", {}, 415, "Content-Type"),
    "invocations, text": ("/invocations", b"", {"Content-Type": "text/plain"}, 415, "Content-Type"),
    "invocations, Latin": (
        "/invocations", b"image\n", {"Content-Type": "text/csv; charset=latin-1"}, 415,
        "Content-Type",
    ),
    "invocations, parameter": (
        "/invocations", b"image\n", {"Content-Type": f"text/csv; a={SECRET}"}, 415, "Content-Type"
    ),
    "invocations, half JSON": ("/invocations", b'{"' + SECRET.encode(), JSON, 400, "body"),
    "invocations, list": ("/invocations", f'["{SECRET}"]'.encode(), JSON, 400, "body"),
    "invocations, key": ("/invocations", f'{{"{SECRET}": 1}}'.encode(), JSON, 400, "body"),
    "invocations, deep": ("/invocations", b'{"inputs":' + b"[" * 100_000, JSON, 400, "body"),
    "invocations, no rows": ("/invocations", b'{"dataframe_records": 5}', JSON, 400, "body"),
    "invocations, column": ("/invocations", records([{SECRET: "a"}]), JSON, 422, "image"),
    "invocations, numbers": ("/invocations", records([{"image": 1970.5}]), JSON, 400, "body"),
    "invocations, chat": (
        "/invocations", f'{{"messages": "{SECRET}"}}'.encode(), JSON, 422, "image"
    ),
    "invocations, CSV column": ("/invocations", f"{SECRET}\n1\n".encode(), CSV, 422, "image"),
    "invocations, no CSV": ("/invocations", b"", CSV, 400, "body"),
    "invocations, no UTF-8": ("/invocations", b"image\n\xff\xfe", CSV, 400, "body"),
    "invocations, Parquet": (
        "/invocations", b"PAR1", {"Content-Type": "application/vnd.apache.parquet"}, 415,
        "Content-Type",
    ),
}  # fmt: skip


def assert_says_little(text: str) -> None:
    """One line of JSON in the shape of our errors, without trace, path or what was sent."""
    assert "\n" not in text
    assert set(json.loads(text)) == {"error"}
    assert set(json.loads(text)["error"]) == {"code", "field", "message"}
    for leak in (SECRET, "Traceback", ".py", str(ROOT), "site-packages", "mlflow", "Error("):
        assert leak not in text


@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_gets_the_field_to_change(client: TestClient, name: str) -> None:
    path, body, headers, status, field = BAD[name]
    response = client.post(path, content=body, headers=headers)
    assert response.status_code == status, response.text
    assert_says_little(response.text)
    assert response.json()["error"]["field"] == field


def test_another_method_is_refused(client: TestClient) -> None:
    response = client.get("/predict")
    assert response.status_code == 405
    assert response.headers["Allow"] == "POST"
    assert_says_little(response.text)


def test_more_images_than_allowed_are_refused(client_with: MakeClient, images: list[bytes]) -> None:
    client = client_with(Limits(images=2))
    form = [("files", (f"{n}.png", images[0])) for n in range(3)]
    assert len(client.post("/predict", files=form[:2]).json()["predictions"]) == 2
    text = base64.b64encode(images[0]).decode()
    for response in (
        client.post("/predict", files=form),
        client.post("/invocations", json={"dataframe_records": [{"image": text}] * 3}),
        client.post("/invocations", json={"instances": [{"image": text}] * 3}),
        client.post("/invocations", content="image\n" + f"{text}\n" * 3, headers=CSV),
    ):
        assert response.status_code == 413
        assert response.json()["error"]["code"] == "too_many_images"
        assert "at most 2 images" in response.json()["error"]["message"]


def test_an_image_of_more_pixels_than_allowed_is_refused(client_with: MakeClient) -> None:
    client = client_with(Limits(pixels=5_000))
    image = image_bytes(smooth_image(60, 90))
    dicom = dicom_bytes(smooth_image(60, 90))
    form = [("files", ("a", image)), ("files", ("b", dicom))]
    form += [("files", ("c", image_bytes(smooth_image(60, 80))))]
    answers = client.post("/predict", files=form).json()["predictions"]
    codes = [(answer["error"] or {}).get("code") for answer in answers]
    assert codes == ["too_large", "too_large", None]
    row = {"image": base64.b64encode(image).decode()}
    [answer] = client.post("/invocations", json={"dataframe_records": [row]}).json()["predictions"]
    assert "over 0.005 megapixels" in answer["error"]


@pytest.mark.parametrize(
    "image",
    [
        dicom_bytes(smooth_image(40, 40), Modality="CT", PatientID=SECRET),
        dicom_bytes(smooth_image(40, 40), Modality=SECRET),
        dicom_bytes(smooth_image(40, 40), PhotometricInterpretation=SECRET),
        image_bytes(grey(40, 40), "PNG")[:60] + SECRET.encode(),
        SECRET.encode(),
    ],
    ids=("CT", "modality", "photometric interpretation", "truncated PNG", "text"),
)
def test_an_image_s_error_quotes_nothing_of_the_image(client: TestClient, image: bytes) -> None:
    told = client.post("/predict", files={"files": ("a", image)}).text
    told += client.post("/predict", content=image, headers={"Content-Type": "image/png"}).text
    row = {"image": base64.b64encode(image).decode()}
    told += client.post("/invocations", json={"dataframe_records": [row]}).text
    assert told.replace(" ", "").count('"error":{') == 2
    assert "1970" not in told


def test_every_error_of_an_image_has_a_remedy() -> None:
    sources = [path.read_text() for path in (ROOT / "src/pneumonia/images").glob("*.py")]
    for code in REMEDIES:
        told = image_error(ImageError("12x3 px", code))
        assert told["message"].startswith("12x3 px: ") == code.startswith("too_")
        assert any(f'"{code}"' in source for source in sources)


def test_an_unhandled_exception_gives_only_its_id(
    client: TestClient, images: list[bytes], monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    def fail(*_: Any) -> None:
        raise ValueError(SECRET)

    monkeypatch.setattr("pneumonia.inference.predictor.warn", fail)
    row = {"image": base64.b64encode(images[0]).decode()}
    with caplog.at_level(logging.INFO, "pneumonia.access"):
        responses = [
            client.post("/predict", files={"files": ("a", images[0])}),
            client.post("/invocations", json={"dataframe_records": [row]}),
        ]
    for response in responses:
        assert response.status_code == 500
        assert_says_little(response.text)
        assert response.headers["X-Request-ID"] in response.text
        assert response.headers["X-Request-ID"] in str([vars(one) for one in caplog.records])


def test_nothing_that_is_sent_is_written_to_disk(
    client: TestClient, images: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    opened: list[str] = []
    watching = True

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if watching and event == "open":
            path, mode, flags = arguments
            writes = any(letter in (mode or "") for letter in "wax+") or (flags or 0) & 3
            if writes:
                opened.append(str(path))

    sys.addaudithook(hook)
    # More than any usual threshold for a temporary file.
    large = image_bytes(np.random.default_rng(0).integers(0, 256, (2000, 2000), np.uint8), "PNG")
    assert len(large) > 3_000_000
    try:
        form = [("files", ("a.png", large)), ("files", ("b.png", images[0]))]
        assert client.post("/predict", files=form).status_code == 200
        row = {"image": base64.b64encode(large).decode()}
        answer = client.post("/invocations", json={"dataframe_records": [row]})
        assert answer.status_code == 200
        seen = list(opened)
        (tmp_path / "seen").write_text("the hook sees writing")
    finally:
        watching = False
    assert seen == []
    assert len(opened) == 1
