"""The registered model's class on a small graph, without MLflow's store or server."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto, helper

from pneumonia.core.errors import InputError
from pneumonia.images.decoding import decode
from pneumonia.inference.operating_point import OperatingPoint, OperatingPoints
from pneumonia.inference.predictor import Graph
from pneumonia.inference.pyfunc import PneumoniaModel
from pneumonia.inference.warnings import REMEDIES
from tests.conftest import SIZE
from tests.images.dicom_files import COMPRESSED, dicom_bytes
from tests.images.test_decoding import smooth_image
from tests.inference.images import fitted, held_out


def write_graph(path: Path) -> None:
    """A graph whose logit is the mean grey of the image less 0.4, and whose map is the image."""
    nodes = [
        helper.make_node("Cast", ["image"], ["levels"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["levels", "white"], ["scaled"]),
        helper.make_node("ReduceMean", ["scaled", "axes"], ["mean"], keepdims=0),
        helper.make_node("Sub", ["mean", "middle"], ["logit"]),
        helper.make_node("Squeeze", ["scaled", "channel"], ["map"]),
    ]
    constants = [
        helper.make_tensor("white", TensorProto.FLOAT, [], [255.0]),
        helper.make_tensor("middle", TensorProto.FLOAT, [], [0.4]),
        helper.make_tensor("axes", TensorProto.INT64, [3], [1, 2, 3]),
        helper.make_tensor("channel", TensorProto.INT64, [1], [3]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", SIZE, SIZE, 1])
    logit = helper.make_tensor_value_info("logit", TensorProto.FLOAT, ["N"])
    heat = helper.make_tensor_value_info("map", TensorProto.FLOAT, ["N", SIZE, SIZE])
    graph = helper.make_graph(nodes, "image", [image], [logit, heat], constants)
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)


def loaded(tmp_path: Path, **others: Path) -> PneumoniaModel:
    """The model of that graph, with further artifacts."""
    write_graph(tmp_path / "graph.onnx")
    OperatingPoints("test", {"test": OperatingPoint(0.5, 0.0, 0.5, 1.0)}).write(
        tmp_path / "point.json"
    )
    found = PneumoniaModel()
    files = {"graph": tmp_path / "graph.onnx", "operating_point": tmp_path / "point.json"}
    artifacts = {name: str(path) for name, path in (files | others).items()}
    found.load_context(SimpleNamespace(artifacts=artifacts))
    return found


def test_a_graph_that_is_not_the_registered_one_is_refused(tmp_path: Path) -> None:
    write_graph(tmp_path / "graph.onnx")
    record = tmp_path / "record.json"
    sha256 = hashlib.sha256((tmp_path / "graph.onnx").read_bytes()).hexdigest()
    record.write_text(json.dumps({"hashes": {"graph_sha256": sha256}}))
    assert loaded(tmp_path, record=record).bundle.predictor.graph.sha256 == sha256
    record.write_text(json.dumps({"hashes": {"graph_sha256": "0" * 64}}))
    with pytest.raises(InputError, match=r"graph\.onnx: damaged.*`make rollback`"):
        loaded(tmp_path, record=record)


@pytest.fixture
def model(tmp_path: Path) -> PneumoniaModel:
    return loaded(tmp_path)


def test_the_statistics_of_images_are_loaded_where_the_model_has_them(tmp_path: Path) -> None:
    assert loaded(tmp_path).bundle.predictor.plausibility is None
    fitted().save(tmp_path / "plausibility.npz")
    found = loaded(
        tmp_path, plausibility=tmp_path / "plausibility.npz"
    ).bundle.predictor.plausibility
    assert found is not None
    assert [found.judge(image) for image in held_out()] == [
        fitted().judge(image) for image in held_out()
    ]


def test_damaged_statistics_stop_the_server_before_it_answers(tmp_path: Path) -> None:
    (tmp_path / "plausibility.npz").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(InputError, match="not a file of image statistics"):
        loaded(tmp_path, plausibility=tmp_path / "plausibility.npz")


@pytest.mark.parametrize("syntax", [None, "JPEG lossless", "JPEG 2000", "RLE"])
@pytest.mark.parametrize("as_base64", [False, True])
def test_a_dicom_image_is_predicted_from_the_square_that_decode_makes(
    model: PneumoniaModel, tmp_path: Path, syntax: str | None, as_base64: bool
) -> None:
    pixels = smooth_image(61, 83).astype(np.uint16) * 16
    tags = {"BitsStored": 12, "PhotometricInterpretation": "MONOCHROME1"}
    payload = dicom_bytes(pixels, *([COMPRESSED[syntax]] if syntax else []), **tags)
    image = base64.b64encode(payload) if as_base64 else payload
    [answer] = model.predict(None, pd.DataFrame({"image": [image]})).to_dict("records")
    square = decode(payload, SIZE).pixels
    [logit], _ = Graph(tmp_path / "graph.onnx").run(square[None, ..., None])
    assert answer["error"] == ""
    assert answer["probability"] == pytest.approx(1 / (1 + np.exp(-logit / 2)), abs=1e-7)
    assert logit == pytest.approx(square.mean() / 255 - 0.4, abs=1e-5)


def test_a_dicom_that_is_not_a_radiograph_has_the_reason(model: PneumoniaModel) -> None:
    payload = dicom_bytes(smooth_image(40, 40), Modality="CT")
    [answer] = model.predict(None, pd.DataFrame({"image": [payload]})).to_dict("records")
    assert answer["error"] == REMEDIES["not_a_radiograph"]
    assert answer["probability"] is None
