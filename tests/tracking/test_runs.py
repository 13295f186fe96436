"""The run of a training: what it holds, and how it is found again."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import ErrorCode

from pneumonia.core import files
from pneumonia.core.errors import InputError
from pneumonia.tracking import runs
from pneumonia.tracking.store import connected

IMAGES = pd.DataFrame(
    {
        "image_id": ["0", "1", "2", "3"],
        "label": [0, 1, 0, 1],
        "split": ["train", "train", "val", "test"],
    }
)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[mlflow.MlflowClient]:
    """An empty store that this process logs to."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    mlflow.set_tracking_uri(uri)
    yield mlflow.MlflowClient(uri)
    mlflow.set_tracking_uri(None)


def test_trainings_keep_runs_of_their_own(
    store: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Under `mlflow run`, which sets MLFLOW_RUN_ID, and under `dvc exp run`.
    monkeypatch.setenv("DVC_EXP_NAME", "heavy-hide")
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "abc")
    names = []
    for stage in ("train_scratch", "train_transfer"):
        outer = store.create_run("0").info.run_id
        monkeypatch.setenv("MLFLOW_RUN_ID", outer)
        with runs.training_run(
            stage, {"augment": {"gamma": 0.1}}, "d" * 64, 64, IMAGES
        ) as log_epoch:
            log_epoch({"epoch": 0, "val_auc": 0.5, "loss": float("nan")})
            log_epoch({"epoch": 1, "val_auc": 0.6, "loss": 0.1})
            active = mlflow.active_run()
            assert active is not None
            run = store.get_run(active.info.run_id)
        assert run.info.run_id != outer
        names.append(run.info.run_name)
        assert run.data.params == {
            "augment.gamma": "0.1",
            "data_digest": "d" * 16,
            "image_size": "64",
        }
        assert run.data.metrics == {"val_auc": 0.6, "loss": 0.1}
        assert run.data.tags["dvc.stage"] == stage
        assert run.data.tags["dvc.exp_name"] == "heavy-hide"
    assert names == ["train_scratch heavy-hide", "train_transfer heavy-hide"]


def test_a_training_that_fails_leaves_a_failed_run(store: mlflow.MlflowClient) -> None:
    with (
        pytest.raises(RuntimeError, match="stop"),
        runs.training_run("train_scratch", {}, "d" * 64, 64, IMAGES),
    ):
        raise RuntimeError("stop")
    experiment = store.get_experiment_by_name("pneumonia")
    assert experiment is not None
    [run] = store.search_runs([experiment.experiment_id])
    assert run.info.status == "FAILED"


def test_a_resumed_training_continues_its_run_without_doubled_points(
    store: mlflow.MlflowClient,
) -> None:
    history = [{"epoch": epoch, "val_loss": 1 / (epoch + 1)} for epoch in range(5)]
    arguments = ("train_scratch", {"rate": 0.1}, "d" * 64, 64, IMAGES, "key")
    with pytest.raises(RuntimeError, match="stop"), runs.training_run(*arguments) as log_epoch:
        for epoch in history[:2]:
            log_epoch(epoch)
        raise RuntimeError("stop")
    # Epoch 2 was safe on disk when the process died, but not yet logged.
    with runs.training_run(*arguments, history[:3]) as log_epoch:
        for epoch in history[3:]:
            log_epoch(epoch)
    # Another training of the same params, and one whose run is not in this store.
    with runs.training_run(*arguments):
        pass
    with runs.training_run(*arguments[:-1], "other", history):
        pass
    experiment = store.get_experiment_by_name("pneumonia")
    assert experiment is not None
    found = store.search_runs([experiment.experiment_id], order_by=["attributes.start_time"])
    assert [run.info.status for run in found] == ["FINISHED"] * 3
    curves = [
        [
            (point.step, point.value)
            for point in store.get_metric_history(run.info.run_id, "val_loss")
        ]
        for run in found
    ]
    whole = [(epoch["epoch"], epoch["val_loss"]) for epoch in history]
    assert curves == [whole, [], whole]


def test_a_killed_experiment_leaves_its_run_to_the_one_that_continues(
    store: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("train_scratch", {}, "d" * 64, 64, IMAGES, "key")
    history = [{"epoch": 0, "val_loss": 1.0}]
    ids = []
    for name, done in (("killed", []), ("again", history)):
        monkeypatch.setenv("DVC_EXP_NAME", name)
        with runs.training_run(*arguments, done):
            active = mlflow.active_run()
            assert active is not None
            ids.append(active.info.run_id)
    assert ids[0] == ids[1]
    run = store.get_run(ids[0])
    assert run.info.run_name == "train_scratch again"
    assert run.data.tags["dvc.exp_name"] == "again"


def test_an_experiment_has_a_run_of_its_own_for_a_training_from_the_cache(
    store: mlflow.MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = trained(tmp_path)

    def opened(name: str, baseline: str = "abc") -> str:
        monkeypatch.setenv("DVC_EXP_NAME", name)
        monkeypatch.setenv("DVC_EXP_BASELINE_REV", baseline)
        with runs.open_run(folder, IMAGES) as run:
            return str(run.info.run_id)

    first = opened("first")
    assert opened("first") == first
    second = opened("second")
    assert len({first, second, opened("first", baseline="def")}) == 3
    assert opened("second") == second
    tags = store.get_run(second).data.tags
    assert tags["pneumonia.trained_in"] == first
    assert "pneumonia.trained_in" not in store.get_run(first).data.tags
    assert store.get_run(second).data.metrics == store.get_run(first).data.metrics
    monkeypatch.delenv("DVC_EXP_NAME")
    monkeypatch.delenv("DVC_EXP_BASELINE_REV")
    with runs.open_run(folder, IMAGES) as run:
        assert run.info.run_id not in {first, second}
        assert run.info.run_name == "train_scratch"


def data_of(run: mlflow.entities.Run) -> dict[str, tuple[str, str, int]]:
    """By context: the name, the digest and the number of images of each data set of a run."""
    found = {}
    for item in run.inputs.dataset_inputs:
        [context] = [tag.value for tag in item.tags if tag.key == "mlflow.data.context"]
        images = json.loads(item.dataset.profile)["num_rows"]
        found[context] = (item.dataset.name, item.dataset.digest, images)
    return found


def trained(folder: Path) -> Path:
    """A trained model's folder, as far as tracking reads it."""
    (folder / "weights.weights.h5").write_bytes(b"weights")
    record = {
        "model": "scratch", "params": {"rate": 0.1}, "data_digest": "d" * 64, "image_size": 64,
        "sha256": files.hashes([folder / "weights.weights.h5"]),
    }  # fmt: skip
    (folder / "training.json").write_text(json.dumps(record))
    (folder / "metrics.json").write_text(json.dumps({"best_epoch": 1, "best_val_auc": 0.5}))
    (folder / "history.csv").write_text("epoch,val_loss\n1,0.5\n")
    return folder


def test_the_images_are_inputs_of_the_run_by_what_they_are_for(
    store: mlflow.MlflowClient, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    with runs.training_run("train_scratch", {}, "d" * 64, 64, IMAGES):
        active = mlflow.active_run()
    assert active is not None
    digest = "d" * 16
    training = {
        "training": ("images_train", digest, 2), "validation": ("images_val", digest, 1),
    }  # fmt: skip
    run = store.get_run(active.info.run_id)
    assert data_of(run) == training
    assert str(tmp_path) not in str(run.inputs)
    assert '"uri": "data/prepared/manifest.csv"' in str(run.inputs)
    assert not [warning for warning in recwarn if "integer column" in str(warning.message)]
    # The run of a cached training in an empty store, and once more: no input doubles.
    folder = trained(tmp_path)
    for _ in range(2):
        with runs.open_run(folder, IMAGES) as opened:
            pass
    again = store.get_run(opened.info.run_id)
    assert data_of(again) == training | {"testing": ("images_test", digest, 1)}
    assert len(again.inputs.dataset_inputs) == 3


def test_a_store_that_fails_is_one_line_and_a_bug_keeps_its_trace(
    store: mlflow.MlflowClient, tmp_path: Path
) -> None:
    with (
        pytest.raises(
            InputError, match=r"MLFLOW_TRACKING_URI: .*; run the same command again"
        ) as caught,
        connected(),
    ):
        with sqlite3.connect(tmp_path / "mlflow.db") as database:
            database.execute("DROP TABLE registered_models")
        store.create_registered_model("name")
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(MlflowException, match="not found"), connected():
        store.get_run("0" * 32)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("UNAUTHENTICATED", "the server does not let user 'ann' in; set MLFLOW_TRACKING_USERNAME"),
        ("PERMISSION_DENIED", "user 'ann' may not do this; ask who runs the server"),
    ],
)
def test_a_refused_user_gets_one_line(
    store: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch, code: str, said: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
    with pytest.raises(InputError) as caught, connected():
        raise MlflowException("401 != 200\nPlease see", error_code=ErrorCode.Value(code))
    [line] = str(caught.value).splitlines()
    assert line.startswith(f"MLFLOW_TRACKING_URI: {mlflow.get_tracking_uri()}: {said}")
