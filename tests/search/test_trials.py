"""A search prunes, repeats killed trials, and has all trials under one MLflow run."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import optuna
import pytest
from mlflow.entities import Run

from pneumonia.core.config import ScratchParams, changed, load_params
from pneumonia.core.errors import InputError
from pneumonia.datasets import manifest
from pneumonia.images.decoding import read_grey
from pneumonia.models.checkpoint import Checkpoint
from pneumonia.models.loop import Epoch
from pneumonia.search import command, trials
from pneumonia.search.space import PruningParams, SearchParams
from pneumonia.tracking.store import connected
from tests.conftest import SIZE
from tests.pipeline.imports import ROOT
from tests.tracking.stores import empty

__all__ = ["empty"]

PARAMS = changed(load_params(ROOT / "params.yaml"), {"train_scratch.epochs": 4})
BLOCK = PARAMS.train_scratch
PLAN = SearchParams.model_validate(
    {
        "trials": 6,
        "seed": 7,
        "pruning": {"startup": 1, "warm_up": 2},
        "train_scratch": {"learning_rate": {"low": 1e-4, "high": 0.01, "log": True}},
        "train_transfer": {"head_l2": {"low": 0.01, "high": 0.1}},
    }
)


class Training:
    """A network that records its trainings; its AUC follows from the learning rate."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, list[int]]] = []
        self.ends: dict[int, BaseException] = {}  # in its second epoch, by its number from 1
        self.sign = 1

    def build(self, params: ScratchParams, size: int) -> None:
        assert size == SIZE
        self.seen.append((params.learning_rate, []))

    def train(
        self, model: None, images: Any, params: ScratchParams, history: list[Epoch],
        checkpoint: Checkpoint, on_epoch: Any,
    ) -> None:  # fmt: skip
        rate, epochs = self.seen[-1]
        # The further from the current rate, the lower; with sign -1, the higher.
        off = self.sign * abs(math.log(rate / BLOCK.learning_rate)) / 10
        for epoch in range(1, params.epochs + 1):
            epochs.append(epoch)
            if epoch == 2 and len(self.seen) in self.ends:
                raise self.ends[len(self.seen)]
            auc = 0.5 + epoch / 100 - off
            history.append({"epoch": epoch, "loss": 0.5, "val_loss": 0.5, "val_auc": auc})
            on_epoch(history[-1])


Start = Callable[[Training], str]


@pytest.fixture
def start(tmp_path: Path, empty: Path, prepared: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Start a search for six trials, with an MLflow store of the test's own; its report."""
    shutil.copy(empty, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    mlflow.set_tracking_uri(uri)

    def start(training: Training, folder: str = "search") -> str:
        (tmp_path / folder).mkdir(exist_ok=True)
        search = trials.Search(
            "train_scratch", PARAMS, training, PLAN, prepared, manifest.digest(prepared),
            tmp_path / folder,
        )  # fmt: skip
        with connected():
            return command.run_search(search, PLAN.trials)

    return start


def family() -> tuple[Run, list[Run]]:
    """The one search in the store, and its trials from the first on."""
    found = mlflow.search_runs(order_by=["attributes.start_time"], output_format="list")
    [parent] = [run for run in found if command.SEARCH_TAG in run.data.tags]
    children = [run for run in found if run is not parent]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    return parent, children


def test_trials_that_fall_behind_end_early_and_all_are_children_of_one_run(start: Start) -> None:
    training = Training()
    report = start(training)
    (first, epochs), *others = training.seen
    assert (first, epochs) == (BLOCK.learning_rate, [1, 2, 3, 4])
    assert [epochs for _, epochs in others] == [[1, 2]] * 5
    assert report.splitlines() == [
        "train_scratch: 6 trials, 1 complete, 5 pruned, 0 failed",
        "params.yaml, trial 1: val_auc 0.5400",
        "best, trial 1: val_auc 0.5400",
        "no trial was better than params.yaml",
    ]
    parent, children = family()
    assert parent.data.metrics == {"best_val_auc": pytest.approx(0.54)}
    assert {run.info.status for run in (parent, *children)} == {"FINISHED"}
    rates = [float(run.data.params["learning_rate"]) for run in children]
    assert rates == [rate for rate, _ in training.seen]
    assert children[1].data.metrics["val_auc"] == pytest.approx(
        0.52 - abs(math.log(rates[1] / BLOCK.learning_rate)) / 10
    )


def test_the_report_ends_with_the_experiment_that_repeats_the_best(start: Start) -> None:
    training = Training()
    training.sign = -1
    last = start(training).splitlines()[-1]
    best = max(training.seen, key=lambda pair: abs(math.log(pair[0] / BLOCK.learning_rate)))[0]
    assert last == f"dvc exp run -S train_scratch.learning_rate={best}"
    assert len(str(best)) <= 8


def test_a_search_that_was_stopped_ends_like_one_that_was_not(start: Start) -> None:
    complete, stopped = Training(), Training()
    expected = start(complete, "complete")
    stopped.ends = {3: KeyboardInterrupt(), 5: KeyboardInterrupt()}
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            start(stopped)
    assert start(stopped) == expected
    # Both stopped trainings were done once more.
    assert [
        pair for n, pair in enumerate(stopped.seen, 1) if n not in stopped.ends
    ] == complete.seen
    assert start(stopped) == expected
    assert len(stopped.seen) == 8


def test_values_with_which_a_training_fails_fail_alone(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    training = Training()
    training.ends = {1: ValueError("Input contains NaN.\nand more")}
    counts, present, *_ = start(training).splitlines()
    assert re.fullmatch(r"train_scratch: 6 trials, \d complete, \d pruned, 1 failed", counts)
    assert present == "params.yaml, trial 1: no val_auc (fail)"
    assert capsys.readouterr().err == "trial 1: failed: Input contains NaN.\n"
    assert family()[1][0].info.status == "FAILED"


def test_a_search_without_a_complete_trial_says_so(start: Start) -> None:
    training = Training()
    training.ends = {number: ValueError("no") for number in range(1, 7)}
    with pytest.raises(InputError, match="no trial was completed"):
        start(training)


def test_other_images_or_another_space_are_another_search(prepared: Path) -> None:
    training = Training()

    def key(plan: SearchParams = PLAN, digest: str = "d", **block: Any) -> str:
        params = changed(PARAMS, {f"train_scratch.{name}": block[name] for name in block})
        search = trials.Search(
            "train_scratch", params, training, plan, prepared, digest, Path("search")
        )
        return search.key

    assert key() == key(PLAN.model_copy(update={"trials": 99})) == key(learning_rate=0.003)
    assert (
        len({key(), key(digest="e"), key(epochs=5), key(PLAN.model_copy(update={"seed": 8}))}) == 4
    )


def test_no_image_of_test_is_read(
    start: Start, prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []

    def reading(path: Path) -> Any:
        read.append(path.stem)
        return read_grey(path)

    monkeypatch.setattr(manifest, "read_grey", reading)
    start(Training())
    table = manifest.read_manifest(prepared)
    assert set(read) == set(table.loc[table["split"] != "test", "image_id"])
    assert "test" in set(table["split"])


@pytest.mark.parametrize(
    ("epoch", "auc", "startup", "behind"),
    [(2, 0.6, 2, True), (2, 0.75, 2, False), (1, 0.1, 2, False), (2, 0.6, 3, False)],
)
def test_a_trial_is_judged_by_its_current_epoch_and_by_complete_trials_alone(
    epoch: int, auc: float, startup: int, behind: bool
) -> None:
    study = optuna.create_study(direction="maximize")
    for state, last in (("COMPLETE", 0.7), ("COMPLETE", 0.8), ("PRUNED", 0.99), ("FAIL", 0.99)):
        values = {0: 0.5, 1: 0.6, 2: last}
        study.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState[state], value=last if state == "COMPLETE" else None,
                intermediate_values=values,
            )
        )  # fmt: skip
    pruning = PruningParams(startup=startup, warm_up=2)
    assert trials.falls_behind(study, {"epoch": epoch, "val_auc": auc}, pruning) is behind
