"""`pneumonia behaviour`: output, exit status, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pneumonia.cli import main
from pneumonia.evaluation import behaviour
from pneumonia.evaluation.behaviour import CHECKS, BehaviourImages, PredictImages, draw_images
from pneumonia.inference import bundle
from pneumonia.inference.operating_point import OperatingPoint
from pneumonia.inference.predictor import Predictor
from tests.evaluation.behaviour.stand_ins import inverted, knowing
from tests.scoring.conftest import write_model

CHAMPION = "models:/pneumonia-chest-xray@champion"
POINT = OperatingPoint(slope=1.0, intercept=0.0, threshold=0.5, map_scale=1.0)


def run_behaviour(*arguments: str | Path) -> int:
    return main(["behaviour", *map(str, arguments)])


@pytest.fixture
def model(images: BehaviourImages, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let the command load a stand-in for a model, and use these images."""

    def use(predict: PredictImages) -> None:
        def run(squares: Any) -> tuple[Any, None]:
            given = np.clip(predict(squares), 1e-9, 1 - 1e-9)
            return np.log(given / (1 - given)), None

        graph: Any = SimpleNamespace(size=224, run=run, sha256="f" * 64)
        loaded = SimpleNamespace(version="3", source="stand-in", predictor=Predictor(graph, POINT))
        monkeypatch.setattr(bundle, "load_model", lambda where: loaded)
        monkeypatch.setattr(behaviour, "draw_images", lambda size: images)

    return use


def test_a_good_model_ends_with_status_0(
    model: Any,
    images: BehaviourImages,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    model(knowing(images))
    assert run_behaviour("--json", tmp_path / "checks.json") == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    lines = printed.out.splitlines()
    assert lines[0] == f"{CHAMPION}, version 3, stand-in: 80 drawn images of 224 px"
    assert lines[-1] == f"all {len(CHECKS)} checks hold"
    assert sum(line.endswith("  holds") for line in lines) == len(CHECKS)
    assert max(map(len, lines[1:])) <= 80
    [auc] = [line.split() for line in lines if line.startswith("  AUC")]
    assert auc == ["AUC", "1.000", ">=", "0.75", "holds"]
    record = json.loads((tmp_path / "checks.json").read_text())
    assert record["model"] == f"{CHAMPION}, version 3, stand-in"
    assert (record["size"], record["threshold"]) == (224, 0.5)
    assert [one["check"] for one in record["checks"]] == [one.name for one in CHECKS]
    assert all(one["holds"] for one in record["checks"])
    assert [file.name for file in tmp_path.iterdir()] == ["checks.json"]


def test_a_broken_model_ends_with_status_1_and_the_next_step(
    model: Any,
    images: BehaviourImages,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    model(inverted(knowing(images)))
    assert run_behaviour("--json", tmp_path / "checks.json") == 1
    printed = capsys.readouterr()
    failing = sum(line.endswith("  FAILS") for line in printed.out.splitlines())
    [line] = printed.err.splitlines()
    assert line.startswith(f"behaviour: {failing} of {len(CHECKS)} checks fail; ")
    assert "docs/explanation/tests.md" in line
    assert "`make rollback`" in line
    record = json.loads((tmp_path / "checks.json").read_text())
    assert sum(not one["holds"] for one in record["checks"]) == failing > 0


def test_a_model_in_a_folder_that_sees_only_the_mean_grey_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(behaviour, "draw_images", lambda size: draw_images(size, patients=4))
    folder = write_model(tmp_path / "model")
    assert run_behaviour("--model", folder) == 1
    printed = capsys.readouterr()
    assert printed.out.splitlines()[0] == f"{folder}, small: 80 drawn images of 64 px"
    assert "rollback" not in printed.err


def test_a_file_that_cannot_be_written_is_named_and_none_is_left(
    model: Any,
    images: BehaviourImages,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    model(knowing(images))
    file = tmp_path / "gone" / "checks.json"
    assert run_behaviour("--json", file) == 1
    assert capsys.readouterr().err == f"behaviour: --json {file}: No such file or directory\n"


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("transfer", "reports/evaluate/operating_point.json: no such file; `make repro` trains"),
        ("empty", "--model empty: not a model of this project"),
        ("nowhere", "--model nowhere: neither a folder nor models:/NAME@champion"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_refused_in_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    model: str,
    reason: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert run_behaviour("--model", model) == 1
    printed = capsys.readouterr()
    [line] = printed.err.splitlines()
    assert line.startswith(f"behaviour: {reason}")
    assert printed.out == ""
