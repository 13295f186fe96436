"""MLproject: its entry points are the stages, and its parameters are knobs of params.yaml."""

from __future__ import annotations

import re
import shutil
import subprocess
import urllib.request
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.projects._project_spec import load_project

from pneumonia import mlproject
from pneumonia.core.config import load_params
from pneumonia.core.errors import InputError
from tests.pipeline.clone import Clone
from tests.pipeline.imports import ROOT
from tests.server.rest import running

SHIPPED = load_params(ROOT / "params.yaml")
POINTS = yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"]
STAGES = list(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])


def test_there_is_an_entry_point_a_stage_the_pipeline_and_the_server() -> None:
    assert {"main", *STAGES, "serve"} <= set(POINTS)


@pytest.mark.parametrize("name", ["main", *STAGES])
def test_every_parameter_is_a_knob_of_its_type_and_is_left_alone_by_default(name: str) -> None:
    point = load_project(str(ROOT)).get_entry_point(name)
    command = point.compute_command({}, None)
    options = re.findall(r"--(\S+) ''", command)
    assert len(options) == len(point.parameters)
    for option, parameter in zip(options, point.parameters.values(), strict=True):
        key = option if option.split(".")[0] in [*STAGES, "data"] else f"{name}.{option}"
        value = SHIPPED
        for part in key.split("."):
            value = getattr(value, part)
        assert parameter.type == ("string" if isinstance(value, str) else "float")
        # Given what it is already, it is a value like any other.
        [(set_key, _)] = mlproject.knobs(SHIPPED, name, [f"--{option}", str(value)]).items()
        assert set_key == key
    assert mlproject.knobs(SHIPPED, name, [x for one in options for x in (f"--{one}", "")]) == {}


def test_the_server_offers_the_champion_of_the_params() -> None:
    model = POINTS["serve"]["parameters"]["model"]["default"]
    assert model == f"models:/{SHIPPED.evaluate.registered_model}@champion"


def test_values_reach_dvc_as_they_were_meant() -> None:
    given = [
        "--threshold", "sensitivity>=0.95", "--train_scratch.widths", "[8, 16]",
        "--prepare.official_test", "false", "--train_scratch.learning_rate", "1e-3",
        "--data.patient_pattern", r"^(?P<patient>\d+)",
    ]  # fmt: skip
    assert mlproject.knobs(SHIPPED, "evaluate", given) == {
        "evaluate.threshold": '"sensitivity>=0.95"',
        "train_scratch.widths": "[8, 16]",
        "prepare.official_test": "false",
        "train_scratch.learning_rate": "0.001",
        "data.patient_pattern": r'"^(?P<patient>\d+)"',
    }


@pytest.mark.parametrize(
    ("stage", "option", "value", "told"),
    [
        ("evaluate", "--threshold", "[", "evaluate.threshold: input should be youden"),
        ("train_scratch", "--epochs", "many", "train_scratch.epochs: input should be a valid"),
        ("train_scratch", "--epoch", "2", "epoch: unknown key; did you mean 'epochs'?"),
        ("main", "--prepare.size", "8", "prepare.size: input should be greater than or equal"),
        ("main", "--epochs", "2", "epochs: unknown key; known here: data, prepare"),
    ],
)
def test_a_wrong_value_is_told_before_anything_runs(
    stage: str, option: str, value: str, told: str
) -> None:
    with pytest.raises(InputError) as caught:
        mlproject.knobs(SHIPPED, stage, [option, value])
    assert told in str(caught.value)


def mlflow_run(clone: Clone, uri: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return clone.run("mlflow", "run", uri, "--env-manager", "local", *arguments)


def training(clone: Clone) -> Run:
    client = MlflowClient(f"sqlite:///{clone.path}/mlflow.db")
    experiment = client.get_experiment_by_name("pneumonia")
    assert experiment is not None
    query = "tags.`dvc.stage` = 'train_scratch'"
    return client.search_runs([experiment.experiment_id], query)[0]


@pytest.mark.slow
@pytest.mark.long
def test_mlflow_runs_a_stage_with_and_without_values(reproduced: Clone, tmp_path: Path) -> None:
    clone = reproduced.copy(tmp_path / "clone")
    params = (clone.path / "params.yaml").read_text()
    ran = mlflow_run(clone, ".", "-e", "train_scratch")
    assert ran.returncode == 0, ran.stderr
    assert "Running stage" not in ran.stdout
    ran = mlflow_run(clone, ".", "-e", "train_scratch", "-P", "epochs=0")
    assert ran.returncode == 1
    wrong = "train_scratch.epochs: input should be greater than or equal to 1, not 0"
    assert f"train_scratch: {wrong}" in ran.stderr.splitlines()
    assert (clone.path / "params.yaml").read_text() == params

    ran = mlflow_run(clone, ".", "-e", "train_scratch", "-P", "epochs=2", "-P", "augment.gamma=0.3")
    assert ran.returncode == 0, ran.stderr
    # visualize draws the augmentation.
    stages = re.findall(r"^Running stage '(\w+)'", ran.stdout, re.MULTILINE)
    assert stages == ["visualize", "train_scratch"]
    run = training(clone)
    assert (run.data.params["epochs"], run.data.params["augment.gamma"]) == ("2", "0.3")
    assert run.data.tags["dvc.exp_name"] in run.info.run_name
    assert run.info.status == "FINISHED"
    found = load_params(clone.path / "params.yaml").train_scratch
    assert (found.epochs, found.augment.gamma) == (2, 0.3)

    serve = 'mlflow run . --env-manager local -e serve -P port="$2"'
    with running(["bash", "-c", serve, "serve"], clone.path, {}) as (address, _, _):
        assert urllib.request.urlopen(f"{address}/ping", timeout=30).status == 200


@pytest.mark.slow
@pytest.mark.long
def test_mlflow_runs_the_pipeline_of_a_git_repository(reproduced: Clone, tmp_path: Path) -> None:
    # Git finds project.git under the name without it; MLflow takes a folder that is there as it is.
    bare = tmp_path / "project.git"
    cloned = reproduced.run("git", "clone", "--quiet", "--bare", ".", str(bare))
    assert cloned.returncode == 0, cloned.stderr
    elsewhere = Clone(tmp_path / "elsewhere")
    elsewhere.path.mkdir()
    ran = mlflow_run(elsewhere, f"file://{bare.with_suffix('')}", "-P", "scratch_epochs=2")
    assert ran.returncode == 0, ran.stderr
    assert re.findall(r"^Running stage '(\w+)'", ran.stdout, re.MULTILINE) == STAGES
    run = training(elsewhere)
    assert run.data.params["epochs"] == "2"
    assert {"test_auc", "val_brier"} < set(run.data.metrics)
    [fetched] = re.findall(r"Fetching project from \S+ into (\S+) ===", ran.stderr)
    shutil.rmtree(fetched)
    # What the clone made outlasts it.
    client = MlflowClient(f"sqlite:///{elsewhere.path}/mlflow.db")
    assert client.download_artifacts(run.info.run_id, "evaluate", str(tmp_path))
    champion = client.get_model_version_by_alias(SHIPPED.evaluate.registered_model, "champion")
    assert client.get_run(champion.run_id).info.status == "FINISHED"
