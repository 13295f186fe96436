"""`pneumonia behaviour`: what it prints and writes, its status, and what it refuses."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pneumonia.cli import main
from pneumonia.evaluation import behaviour
from pneumonia.evaluation.behaviour import CHECKS, Answer, BehaviourImages, draw_images
from pneumonia.inference.operating_point import OperatingPoint
from pneumonia.inference.predictor import Predictor
from tests.evaluation.behaviour.stand_ins import inverted, knowing
from tests.scoring.conftest import write_model

POINT = OperatingPoint(slope=1.0, intercept=0.0, threshold=0.5, map_scale=1.0)


def run_behaviour(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["pneumonia", "behaviour", *map(str, arguments)])
    return main()


@pytest.fixture
def model(images: BehaviourImages, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let the command find a stand-in for a model, and these images."""

    def use(answer: Answer) -> None:
        def run(squares: Any) -> tuple[Any, None]:
            given = np.clip(answer(squares), 1e-9, 1 - 1e-9)
            return np.log(given / (1 - given)), None

        graph: Any = SimpleNamespace(size=224, run=run, sha256="f" * 64)
        monkeypatch.setattr(behaviour, "_model", lambda _: ("stand-in", Predictor(graph, POINT)))
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
    assert run_behaviour(monkeypatch, "--json", tmp_path / "checks.json") == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    lines = printed.out.splitlines()
    assert lines[0] == "stand-in: 80 drawn images of 224 px"
    assert lines[-1] == f"all {len(CHECKS)} checks hold"
    assert sum(line.endswith("  holds") for line in lines) == len(CHECKS)
    assert max(map(len, lines)) <= 80
    [auc] = [line.split() for line in lines if line.startswith("  AUC")]
    assert auc == ["AUC", "1.000", ">=", "0.75", "holds"]
    record = json.loads((tmp_path / "checks.json").read_text())
    assert (record["model"], record["size"], record["threshold"]) == ("stand-in", 224, 0.5)
    assert [one["check"] for one in record["checks"]] == [one.name for one in CHECKS]
    assert all(one["holds"] for one in record["checks"])
    assert [file.name for file in tmp_path.iterdir()] == ["checks.json"]


def test_a_broken_model_ends_with_status_1_and_what_to_do(
    model: Any,
    images: BehaviourImages,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    model(inverted(knowing(images)))
    assert run_behaviour(monkeypatch, "--json", tmp_path / "checks.json") == 1
    printed = capsys.readouterr()
    failing = sum(line.endswith("  FAILS") for line in printed.out.splitlines())
    [line] = printed.err.splitlines()
    assert line.startswith(f"behaviour: {failing} of {len(CHECKS)} checks fail; ")
    assert "docs/explanation/tests.md" in line
    assert "`make rollback`" in line
    record = json.loads((tmp_path / "checks.json").read_text())
    assert sum(not one["holds"] for one in record["checks"]) == failing > 0


def test_a_folder_is_a_model_and_one_that_reads_the_mean_grey_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(behaviour, "draw_images", lambda size: draw_images(size, patients=4))
    folder = write_model(tmp_path / "model")
    assert run_behaviour(monkeypatch, "--model", folder) == 1
    printed = capsys.readouterr()
    assert printed.out.splitlines()[0] == f"{folder}, small: 80 drawn images of 64 px"
    assert "rollback" not in printed.err


def test_nowhere_to_write_is_said_and_nothing_is_left(
    model: Any,
    images: BehaviourImages,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    model(knowing(images))
    file = tmp_path / "gone" / "checks.json"
    assert run_behaviour(monkeypatch, "--json", file) == 1
    assert capsys.readouterr().err == f"behaviour: --json {file}: No such file or directory\n"


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("transfer", "reports/evaluate/operating_point.json: no such file; `make repro` trains"),
        ("empty", "--model empty: no model of this project"),
        ("nowhere", "--model nowhere: neither a folder nor models:/NAME@champion"),
    ],
)
def test_what_is_no_model_is_refused_in_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    model: str,
    reason: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert run_behaviour(monkeypatch, "--model", model) == 1
    printed = capsys.readouterr()
    [line] = printed.err.splitlines()
    assert line.startswith(f"behaviour: {reason}")
    assert printed.out == ""
