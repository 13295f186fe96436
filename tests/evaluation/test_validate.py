"""`pneumonia validate`: a model on a folder of labelled images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pneumonia.cli import main
from pneumonia.images.decoding import encode_png
from pneumonia.stats.metrics import score
from tests.conftest import SIZE
from tests.server.registered import POINT, register_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose logit is the mean of the middle of an image."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        return register_model(tmp_path_factory.mktemp("registered"), monkeypatch)


def make_images(root: Path) -> Path:
    """Two images a patient, brighter ones with the label PNEUMONIA, as a rule."""
    rng, rows = np.random.default_rng(0), []
    for number in range(40):
        image = rng.integers(0, 60, (SIZE, SIZE)) + 4 * number
        (root / f"{number}.png").write_bytes(encode_png(image.astype(np.uint8)))
        rows.append({"file": f"{number}.png", "label": int(number + rng.integers(-9, 9) > 20)})
    table = pd.DataFrame(rows).assign(patient_id=[f"Miller{n // 2}" for n in range(40)])
    table.to_csv(root / "labels.csv", index=False)
    return root


def run(*arguments: str | Path) -> int:
    return main(["validate", *map(str, arguments)])


def test_figures_are_those_of_the_predictions_at_the_models_threshold(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, output = make_images(tmp_path), tmp_path / "out.csv"
    assert run(folder, "--model", model, "--output", output) == 0
    table = pd.read_csv(output)
    assert list(table.columns) == ["file", "label", "predicted", "probability", "logit"]
    probability = table["probability"].to_numpy()
    assert (table["predicted"] == (probability >= POINT.threshold)).all()
    expected = score(table["label"].to_numpy(), probability, POINT.threshold)
    printed = capsys.readouterr().out
    sick = table["label"].sum()
    assert f"40 images of 20 patients, {sick} images with pneumonia" in printed
    figures = {line[:26].strip(): line[26:].split() for line in printed.splitlines()[2:]}
    assert figures["AUC"][0] == f"{expected['auc']:.3f}"
    assert 0.5 < expected["auc"] < 1
    for name in ("sensitivity", "specificity"):
        value, low, high = (float(cell.strip("[,]")) for cell in figures[name])
        assert low <= value <= high
        assert f"{value:.3f}" == f"{expected[name]:.3f}"
    assert "Miller" not in output.read_text() + printed


def test_images_that_cannot_be_read_are_named_and_the_others_count(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_images(tmp_path)
    (folder / "3.png").write_bytes(b"no image")
    arguments = (folder, "--model", model, "--output", tmp_path / "out.csv")
    assert run(*arguments) == 1
    printed = capsys.readouterr()
    assert "39 images of 20 patients" in printed.out
    assert "validate: 3.png: not a JPEG, PNG or DICOM image" in printed.err


@pytest.mark.parametrize(
    ("folder", "model_name", "reason"),
    [
        ("nowhere", "models:/m/1", "FOLDER: nowhere: no such folder"),
        ("images", "nowhere/at/all", "--model nowhere/at/all: "),
    ],
)
def test_wrong_input_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    folder: str, model_name: str, reason: str,
) -> None:  # fmt: skip
    (tmp_path / "images").mkdir()
    make_images(tmp_path / "images")
    monkeypatch.chdir(tmp_path)
    assert run(folder, "--model", model_name) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"validate: {reason}")


def test_images_of_one_class_are_refused(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_images(tmp_path)
    table = pd.read_csv(folder / "labels.csv")
    for file in table.loc[table["label"] == 1, "file"]:
        (folder / file).write_bytes(b"no image")
    assert run(folder, "--model", model) == 1
    assert "no image of one class could be read" in capsys.readouterr().err
