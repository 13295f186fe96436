"""MLproject and `pneumonia run`: entry points are stages, their parameters those of params.yaml."""

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
from pneumonia.cli import main
from pneumonia.core.config import load_params
from pneumonia.core.errors import InputError
from tests.pipeline.clone import Clone
from tests.pipeline.imports import ROOT
from tests.server.rest import running

SHIPPED = load_params(ROOT / "params.yaml")
POINTS = yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"]
STAGES = list(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])


def test_entry_points_are_the_pipeline_the_stages_and_two_verbs() -> None:
    assert set(POINTS) == {"main", *STAGES, "serve", "score"}
    assert list(mlproject.STAGES) == STAGES


@pytest.mark.parametrize("name", ["main", *STAGES])
def test_every_parameter_is_a_param_of_its_type_and_unchanged_by_default(name: str) -> None:
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
        # The value in params.yaml is a value like any other.
        [(set_key, _)] = mlproject.read_knobs(SHIPPED, name, [f"--{option}", str(value)]).items()
        assert set_key == key
    assert (
        mlproject.read_knobs(SHIPPED, name, [x for one in options for x in (f"--{one}", "")]) == {}
    )


@pytest.mark.parametrize("name", ["serve", "score"])
def test_the_default_model_is_the_champion_of_the_params(name: str) -> None:
    model = POINTS[name]["parameters"]["model"]["default"]
    assert model == f"models:/{SHIPPED.register.registered_model}@champion"


def test_values_reach_dvc_unchanged() -> None:
    given = [
        "--threshold", "sensitivity>=0.95", "--train_scratch.widths", "[8, 16]",
        "--prepare.official_test=false", "--train_scratch.learning_rate", "1e-3",
        "--data.patient_pattern", r"^(?P<patient>\d+)",
    ]  # fmt: skip
    assert mlproject.read_knobs(SHIPPED, "evaluate", given) == {
        "evaluate.threshold": '"sensitivity>=0.95"',
        "train_scratch.widths": "[8, 16]",
        "prepare.official_test": "false",
        "train_scratch.learning_rate": "0.001",
        "data.patient_pattern": r'"^(?P<patient>\d+)"',
    }


@pytest.mark.parametrize(
    ("stage", "option", "value", "message"),
    [
        ("evaluate", "--threshold", "[", "evaluate.threshold: input should be youden"),
        ("train_scratch", "--epochs", "many", "train_scratch.epochs: input should be a valid"),
        ("train_scratch", "--epoch", "2", "epoch: unknown key; did you mean 'epochs'?"),
        ("main", "--prepare.size", "8", "prepare.size: input should be greater than or equal"),
        ("main", "--epochs", "2", "epochs: unknown key; known here: data, prepare"),
    ],
)
def test_a_wrong_value_is_refused_before_anything_runs(
    stage: str, option: str, value: str, message: str
) -> None:
    with pytest.raises(InputError) as caught:
        mlproject.read_knobs(SHIPPED, stage, [option, value])
    assert message in str(caught.value)


@pytest.mark.parametrize("words", [["--epochs"], ["2"], ["epochs", "2"], ["--epochs", "2", "x"]])
def test_a_key_without_a_value_is_refused(words: list[str]) -> None:
    with pytest.raises(InputError, match="should be --KEY VALUE, for each param"):
        mlproject.read_knobs(SHIPPED, "train_scratch", words)


def test_the_command_calls_dvc_and_has_its_exit_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = []

    def call(command: list[str], check: bool) -> subprocess.CompletedProcess[str]:
        calls.append(command[1:])
        return subprocess.CompletedProcess(command, 7)

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(subprocess, "run", call)
    assert main(["run", "main"]) == 7
    assert main(["run", "train_scratch", "--epochs", "2", "--augment.gamma=0.3"]) == 7
    values = ["-S", "train_scratch.epochs=2", "-S", "augment.gamma=0.3"]
    assert calls == [
        ["-m", "dvc", "repro"], ["-m", "dvc", "exp", "run", *values, "train_scratch"]
    ]  # fmt: skip
    assert main(["run", "train_scratch", "--epochs", "0"]) == 1
    assert len(calls) == 2
    message = "run: train_scratch.epochs: input should be greater than or equal to 1, not 0\n"
    assert capsys.readouterr().err == message


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
    assert f"run: {wrong}" in ran.stderr.splitlines()
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
    changed = load_params(clone.path / "params.yaml")
    assert (changed.train_scratch.epochs, changed.augment.gamma) == (2, 0.3)

    serve = 'mlflow run . --env-manager local -e serve -P port="$2"'
    with running(["bash", "-c", serve, "serve"], clone.path, {}) as (address, _, _):
        assert urllib.request.urlopen(f"{address}/ping", timeout=30).status == 200


@pytest.mark.slow
@pytest.mark.long
def test_mlflow_runs_the_pipeline_of_a_git_repository(reproduced: Clone, tmp_path: Path) -> None:
    # Git adds .git to the name that it is given; MLflow would use an existing folder as it is.
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
    # The outputs in the store remain when the clone is removed.
    client = MlflowClient(f"sqlite:///{elsewhere.path}/mlflow.db")
    assert client.download_artifacts(run.info.run_id, "evaluate", str(tmp_path))
    champion = client.get_model_version_by_alias(SHIPPED.register.registered_model, "champion")
    assert client.get_run(champion.run_id).info.status == "FINISHED"
