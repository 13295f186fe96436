"""A trained network comes back from its files as it was."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pneumonia.core.errors import InputError
from pneumonia.explain.gradcam import explainer
from pneumonia.inference.predictor import Graph
from pneumonia.models import saving
from pneumonia.models.saving import save_model
from tests.models.test_graphs import IMAGES, network, scratch_params, transfer_params

HISTORY = [{"epoch": 1.0, "loss": 0.5, "val_loss": 0.5, "val_auc": 0.9}]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = {}
    for name, params in (("scratch", scratch_params()), ("transfer", transfer_params())):
        model = network("scratch" if name == "scratch" else "EfficientNetLite0")
        folders[name] = tmp_path_factory.mktemp("models") / name
        folders[name].mkdir()
        save_model(model, (model, HISTORY), HISTORY, params.model_dump(), "d" * 64, folders[name])
    return folders


@pytest.mark.parametrize("name", ["scratch", "transfer"])
def test_it_answers_as_its_graph_does(folders: dict[str, Path], name: str) -> None:
    model = saving.load_network(folders[name])
    logits, maps = Graph(folders[name] / "graph.onnx").run(IMAGES)
    assert model(IMAGES, training=False).numpy()[:, 0] == pytest.approx(logits, abs=1e-4)
    assert maps.max() > 0
    assert explainer(model)(IMAGES) == pytest.approx(maps, abs=1e-4)
    second = saving.load_network(folders[name], "second_seed.weights.h5")
    # So that a layer named in params.yaml is the same one in both.
    assert [layer.name for layer in second.layers] == [layer.name for layer in model.layers]
    assert all(map(np.array_equal, model.get_weights(), second.get_weights()))


def test_weights_of_another_network_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    for file in folders["scratch"].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    record = json.loads((tmp_path / "training.json").read_text())
    record["params"]["widths"] = [16, 16]
    (tmp_path / "training.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="`dvc repro` trains it again") as caught:
        saving.load_network(tmp_path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["weights.weights.h5", "second_seed.weights.h5"])
def test_weights_that_changed_are_refused(
    folders: dict[str, Path], tmp_path: Path, name: str
) -> None:
    for file in folders["scratch"].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    content = bytearray((tmp_path / name).read_bytes())
    content[-9] ^= 1
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name}: damaged.*`make repair`"):
        saving.load_network(tmp_path, name)


def test_missing_files_are_named(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"training\.json"):
        saving.load_network(tmp_path)
    (tmp_path / "training.json").write_bytes((folders["scratch"] / "training.json").read_bytes())
    with pytest.raises(InputError, match=r"weights\.weights\.h5"):
        saving.load_network(tmp_path)
