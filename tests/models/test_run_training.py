"""A training stage from images to files: which checkpoint it continues from."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from pneumonia.datasets.manifest import digest
from pneumonia.models import training
from pneumonia.models.checkpoint import TrainingState
from tests.models.test_training import AUGMENT, tiny_params
from tests.pipeline.imports import ROOT


class KilledError(Exception):
    """What ends a training in the middle."""


@pytest.mark.parametrize(
    ("changes", "goes_on"),
    [
        ({}, True),
        ({"learning_rate": 0.5}, False),
        ({"zoom": 0.5}, False),
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

    class KilledAfterAnEpoch:
        def build(self, params: Any, size: int) -> None:
            pass

        def train(
            self, model: Any, data: Any, params: Any, history: list[Any], checkpoint: Any, _: Any
        ) -> None:
            found.append(len(history))
            checkpoint.save(TrainingState([{"epoch": 1.0}], []))
            raise KilledError

    def start(**changes: Any) -> None:
        augment = AUGMENT.model_copy(
            update={key: changes.pop(key) for key in ["zoom"] if key in changes}
        )
        with pytest.raises(KilledError):
            training.run_training(
                "train_scratch", KilledAfterAnEpoch(), tiny_params(**{"epochs": 2} | changes),
                augment, prepared, audit, tmp_path / "scratch",
            )  # fmt: skip

    start()
    start(**changes)
    assert found == [0, int(goes_on)]
