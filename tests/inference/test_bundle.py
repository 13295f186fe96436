"""A model is loaded by one function, wherever it is, and predicts from a path or from bytes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pneumonia.core.errors import InputError
from pneumonia.images.limits import ImageError
from pneumonia.inference.bundle import decisive_sha256, fetch_model, load_model
from pneumonia.inference.operating_point import OperatingPoint, OperatingPoints
from pneumonia.inference.predictor import Graph
from tests.conftest import SIZE, image_bytes
from tests.inference.images import fitted
from tests.inference.test_pyfunc import write_graph
from tests.server.conftest import model_folder
from tests.server.registered import NAME, POINT

__all__ = ["model_folder"]

OTHER = OperatingPoint(slope=1.0, intercept=0.5, threshold=0.25, map_scale=2.0)


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the stages write: two trainings and their evaluation."""
    for name in ("scratch", "transfer"):
        folder = tmp_path / "models" / name
        folder.mkdir(parents=True)
        write_graph(folder / "graph.onnx")
        sha256 = Graph(folder / "graph.onnx").sha256
        (folder / "training.json").write_text(json.dumps({"sha256": {"graph.onnx": sha256}}))
    report = tmp_path / "reports" / "evaluate"
    report.mkdir(parents=True)
    points = OperatingPoints("transfer", {"scratch": POINT, "transfer": OTHER})
    points.write(report / "operating_point.json")
    fitted().save(report / "plausibility.npz")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("where", ["scratch", "models/scratch"])
def test_a_training_s_output_is_loaded_with_its_own_operating_point(
    clone: Path, where: str
) -> None:
    model = load_model(where)
    assert (model.name, model.version, model.source) == ("scratch", "", "scratch")
    assert model.predictor.point == POINT
    assert model.predictor.plausibility is not None
    assert load_model("transfer").predictor.point == OTHER


def test_a_training_from_another_folder_has_the_evaluation_beside_it(
    clone: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert load_model(str(clone / "models" / "transfer")).predictor.point == OTHER


def test_a_fetched_model_has_its_name_card_record_and_samples(model_folder: Path) -> None:
    model = load_model(str(model_folder))
    assert (model.name, model.version, model.source) == (NAME, "1", "scratch")
    assert model.predictor.point == POINT
    assert "Card" in model.card
    assert model.record["hashes"]["graph_sha256"] == model.predictor.graph.sha256
    assert {sample.label for sample in model.samples} == {"NORMAL", "PNEUMONIA"}


def test_a_damaged_graph_is_refused_wherever_it_is(clone: Path, model_folder: Path) -> None:
    with (clone / "models" / "scratch" / "graph.onnx").open("ab") as graph:
        graph.write(b"\0")
    with pytest.raises(InputError, match=r"models/scratch/graph\.onnx: damaged"):
        load_model("scratch")
    content = dict(fetch_model(str(model_folder)))
    content["artifacts/graph.onnx"] += b"\0"
    for name, payload in content.items():
        path = clone / "fetched" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(payload)
    with pytest.raises(InputError, match=r"graph\.onnx: damaged.*`make rollback`"):
        load_model(str(clone / "fetched"))


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("transfer", r"reports/evaluate/operating_point\.json: no such file; `make repro` trains"),
        (".", r"--model \.: not a model of this project"),
        ("nowhere", "--model nowhere: neither a folder nor models:/NAME@champion"),
    ],
)
def test_what_is_not_a_model_is_named(
    where: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        load_model(where)


def test_a_training_without_a_graph_or_an_evaluation_says_what_is_missing(clone: Path) -> None:
    (clone / "models" / "scratch" / "graph.onnx").unlink()
    with pytest.raises(InputError, match=r"models/scratch/graph\.onnx: no such file"):
        load_model("scratch")
    OperatingPoints("scratch", {"scratch": POINT}).write(
        clone / "reports" / "evaluate" / "operating_point.json"
    )
    with pytest.raises(InputError, match="models/transfer: `dvc repro evaluate` has not"):
        load_model("transfer")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"better": "scratch", "models": {"scratch": {"slope": 1}}}',
             '{"better": "a", "models": {"a": {"slope": 0, "intercept": 0, "threshold": 0.5, '
             '"map_scale": 1}}}'],
)  # fmt: skip
def test_a_damaged_operating_point_is_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "operating_point.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"operating_point\.json: not an operating point"):
        OperatingPoints.read(path)


def test_operating_points_are_read_as_they_were_written(tmp_path: Path) -> None:
    points = OperatingPoints("transfer", {"scratch": POINT, "transfer": OTHER})
    points.write(tmp_path / "operating_point.json")
    assert OperatingPoints.read(tmp_path / "operating_point.json") == points


def test_only_what_decides_on_predictions_changes_the_hash(model_folder: Path) -> None:
    content = dict(fetch_model(str(model_folder)))
    before = decisive_sha256(content)
    assert decisive_sha256(content | {"artifacts/model_card.html": b"other"}) == before
    for name in ("graph.onnx", "operating_point.json", "plausibility.npz"):
        assert decisive_sha256(content | {f"artifacts/{name}": b"other"}) != before


def test_one_image_is_predicted_from_its_path_or_its_bytes(
    model_folder: Path, tmp_path: Path
) -> None:
    payload = image_bytes(np.full((2 * SIZE, 2 * SIZE), 160, np.uint8), "PNG")
    (tmp_path / "xray.png").write_bytes(payload)
    model = load_model(str(model_folder))
    prediction = model.predict(payload)
    assert prediction.label == "PNEUMONIA"
    assert prediction.logit == pytest.approx(160 / 255 - 0.4, abs=1e-5)
    assert prediction.probability == pytest.approx(1 / (1 + np.exp(-4 * prediction.logit)))
    assert prediction.heat_map.shape == (SIZE, SIZE)
    assert prediction.overlay().shape == (SIZE, SIZE, 3)
    assert prediction.warnings == []
    for image in (tmp_path / "xray.png", str(tmp_path / "xray.png")):
        again = model.predict(image)
        assert (again.logit, again.label) == (prediction.logit, prediction.label)
        assert (again.overlay() == prediction.overlay()).all()


def test_several_images_are_predicted_in_their_order(model_folder: Path) -> None:
    predictor = load_model(str(model_folder)).predictor
    greys = (40, 200, 120)
    payloads = [image_bytes(np.full((SIZE, SIZE), grey, np.uint8), "PNG") for grey in greys]
    logits = [prediction.logit for prediction in predictor.predict_batch(payloads)]
    assert logits == pytest.approx([grey / 255 - 0.4 for grey in greys], abs=1e-5)
    assert logits == [predictor.predict(payload).logit for payload in payloads]
    assert predictor.predict_batch([]) == []


def test_a_small_image_has_a_warning_and_no_image_has_an_error(
    model_folder: Path, tmp_path: Path
) -> None:
    model = load_model(str(model_folder))
    small = image_bytes(np.full((SIZE // 2, SIZE // 2), 90, np.uint8), "PNG")
    assert [warning.code for warning in model.predict(small).warnings] == ["too_small"]
    with pytest.raises(ImageError):
        model.predict(b"no image")
    with pytest.raises(FileNotFoundError):
        model.predict(tmp_path / "nowhere.png")
