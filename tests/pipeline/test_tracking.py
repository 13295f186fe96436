"""Runs and registry after the real pipeline, and after losing the store."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from pneumonia.core.config import load_params
from pneumonia.registry.champion import history
from tests.pipeline.clone import Clone

NAME = "pneumonia-chest-xray"


def runs(clone: Clone) -> dict[str, Run]:
    client = MlflowClient(f"sqlite:///{clone.path}/mlflow.db")
    experiment = client.get_experiment_by_name("pneumonia")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    return {run.data.tags["dvc.stage"]: run for run in found}


def names_of_data(run: Run) -> set[str]:
    return {one.dataset.name for one in run.inputs.dataset_inputs}


def test_each_training_is_one_finished_run_with_its_params_and_data(reproduced: Clone) -> None:
    found = runs(reproduced)
    params = load_params(reproduced.path / "params.yaml")
    assert set(found) == {"train_scratch", "train_transfer"}
    for run in found.values():
        assert run.info.status == "FINISHED"
        assert run.data.params["epochs"] == "1"
        assert run.data.params["augment.gamma"] == str(params.augment.gamma)
        assert len(run.data.params["data_digest"]) == 16
        assert run.data.params["image_size"] == "64"
        assert {"best_epoch", "best_val_auc"} < set(run.data.metrics)
        assert len(run.data.tags["git.commit"]) == 40
        data = {one.dataset.name: one.dataset.digest for one in run.inputs.dataset_inputs}
        digest = run.data.params["data_digest"]
        assert data == dict.fromkeys(("images_train", "images_val", "images_test"), digest)
        assert str(reproduced.path) not in str(run.inputs)


def test_test_metrics_join_the_training_run(reproduced: Clone) -> None:
    table = pd.read_json(reproduced.path / "reports/evaluate/metrics.json")
    for model in ("scratch", "transfer"):
        logged = runs(reproduced)[f"train_{model}"].data.metrics
        assert logged["test_auc"] == pytest.approx(table[model]["test"]["auc"])
        assert logged["test_auc_low"] <= logged["test_auc"] <= logged["test_auc_high"]
        shifted = table[model]["val"]["robustness"]
        assert logged["val_shift_mean_auc"] == pytest.approx(shifted["mean"]["auc"])
        for strength, worst in shifted["worst"].items():
            assert logged[f"val_shift_{strength}_worst_specificity"] == worst["specificity"]


def test_the_checks_of_the_maps_join_the_training_run(reproduced: Clone) -> None:
    table = pd.read_json(reproduced.path / "reports/gradcam_report/metrics.json")
    client = MlflowClient(f"sqlite:///{reproduced.path}/mlflow.db")
    for model in ("scratch", "transfer"):
        run = runs(reproduced)[f"train_{model}"]
        energy = table[model]["energy_inside"]
        assert run.data.metrics["gradcam_energy_inside"] == pytest.approx(energy)
        fall = table[model]["road"]["map"]["20"]
        assert run.data.metrics["gradcam_road_map_20"] == pytest.approx(fall)
        assert not any("cascade" in name for name in run.data.metrics)
        files = {one.path for one in client.list_artifacts(run.info.run_id, "register")}
        assert {"register/road.png", "register/galleries", "register/evaluation.html"} < files
        files = {one.path for one in client.list_artifacts(run.info.run_id, "gradcam_report")}
        assert "gradcam_report/randomisation.csv" in files


def test_every_epoch_is_logged(reproduced: Clone) -> None:
    client = MlflowClient(f"sqlite:///{reproduced.path}/mlflow.db")
    history = pd.read_csv(reproduced.path / "models/transfer/history.csv")
    run = runs(reproduced)["train_transfer"]
    logged = client.get_metric_history(run.info.run_id, "val_loss")
    assert [point.step for point in logged] == [0, 1]
    assert [point.value for point in logged] == pytest.approx(list(history["val_loss"]))


def test_an_empty_store_is_filled_again_from_cached_outputs(
    reproduced: Clone, tmp_path: Path
) -> None:
    clone = reproduced.copy(tmp_path / "clone")
    (clone.path / "mlflow.db").unlink()
    shutil.rmtree(clone.path / "mlruns")
    assert clone.repro("--single-item", "--force", "register") == ["register"]
    for stage, before in runs(reproduced).items():
        after = runs(clone)[stage]
        assert after.data.params == before.data.params
        assert after.data.metrics == before.data.metrics
        weights = "pneumonia.weights_sha256"
        assert after.data.tags[weights] == before.data.tags[weights]
        assert names_of_data(after) == names_of_data(before)
    client = MlflowClient(f"sqlite:///{clone.path}/mlflow.db")
    assert str(client.get_model_version_by_alias(NAME, "champion").version) == "1"


def test_the_same_model_registers_once(reproduced: Clone, tmp_path: Path) -> None:
    clone = reproduced.copy(tmp_path / "clone")
    clone.repro("--single-item", "--force", "register")
    client = MlflowClient(f"sqlite:///{clone.path}/mlflow.db")
    [version] = client.search_model_versions(f"name = '{NAME}'")
    assert len(runs(clone)) == 2
    assert version.tags["promotion.decision"] == "champion"
    assert {"val_shift_mean_auc", "test_auc", "git.commit", "params"} < set(version.tags)
    [event] = history(client, NAME)
    assert event.why == "first"


@pytest.mark.slow
def test_the_same_model_served_by_other_code_is_a_new_version(
    reproduced: Clone, tmp_path: Path
) -> None:
    clone = reproduced.copy(tmp_path / "clone")
    with (clone.path / "src/pneumonia/server/routes.py").open("a") as file:
        file.write("# changed\n")
    assert clone.repro() == ["register"]
    client = MlflowClient(f"sqlite:///{clone.path}/mlflow.db")
    assert len(client.search_model_versions(f"name = '{NAME}'")) == 2
    assert str(client.get_model_version_by_alias(NAME, "champion").version) == "2"
    # Once more, where a champion has to behave: so small a network has learnt next to nothing.
    clone.set_param("require_behaviour", "true")
    with (clone.path / "src/pneumonia/server/routes.py").open("a") as file:
        file.write("# changed again\n")
    assert clone.repro() == ["register"]
    version = client.get_model_version_by_alias(NAME, "challenger")
    assert str(version.version) == "3"
    assert "but it fails" in version.tags["promotion.reason"]
    assert "opacity doubled: mean rise" in version.tags["promotion.reason"]
    assert str(client.get_model_version_by_alias(NAME, "champion").version) == "2"
