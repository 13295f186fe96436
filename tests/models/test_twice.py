"""A training stage from images to files: which checkpoint it goes on from."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from pneumonia.core.config import ScratchParams
from pneumonia.datasets.manifest import digest
from pneumonia.models import training
from pneumonia.models.checkpoint import Checkpoint, State
from tests.models.test_training import tiny_params
from tests.pipeline.imports import ROOT


class KilledError(Exception):
    """What ends a training in the middle."""


@pytest.mark.parametrize(
    ("changes", "goes_on"),
    [
        ({}, True),
        ({"learning_rate": 0.5}, False),
        ({"augment": tiny_params().augment.model_copy(update={"zoom": 0.5})}, False),
        ({"epochs": 4}, False),
    ],
)
def test_only_a_training_with_the_same_params_goes_on(
    changes: dict[str, Any], goes_on: bool,
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(ROOT)  # dvc.yaml says which code a training is of
    monkeypatch.setattr(training.runs, "training_run", lambda *_, **__: nullcontext())
    audit = tmp_path / "leaks.json"
    audit.write_text(json.dumps({"data_digest": digest(prepared), "leaks": []}))
    found: list[int] = []

    def killed_after_an_epoch(
        model: Any, images: Any, params: Any, history: list[Any], checkpoint: Checkpoint, _: Any
    ) -> None:
        found.append(len(history))
        checkpoint.save(State([{"epoch": 1.0}], []))
        raise KilledError

    def start(params: ScratchParams) -> None:
        with pytest.raises(KilledError):
            training.train_twice(
                "train_scratch", params, lambda *_: None, killed_after_an_epoch,
                prepared, audit, tmp_path / "scratch",
            )  # fmt: skip

    start(tiny_params(epochs=2))
    start(tiny_params(**{"epochs": 2} | changes))
    assert found == [0, int(goes_on)]
