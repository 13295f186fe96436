"""Whether `dvc exp show` and MLflow say the same of each experiment."""

from __future__ import annotations

import json
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from tests.pipeline.clone import Clone

MODELS = ("scratch", "transfer")


def shown(clone: Clone) -> dict[str, dict[str, Any]]:
    """What `dvc exp show` has of each experiment, by name: state, params, metrics, both nested."""
    ran = clone.run("dvc", "exp", "show", "--json", "--force")
    assert ran.returncode == 0, ran.stderr
    found = {}
    for baseline in json.loads(ran.stdout):
        for experiment in baseline.get("experiments") or []:
            row = experiment["revs"][0]
            data = row.get("data") or {}
            contents = {
                kind: {file: one.get("data") for file, one in (data.get(kind) or {}).items()}
                for kind in ("params", "metrics")
            }
            state = (experiment.get("executor") or {}).get("state")
            found[row["name"]] = {"state": state, **contents}
    return found


def finished_runs(clone: Clone, experiment: str) -> dict[str, Run]:
    """The finished runs of a DVC experiment in the clone's store, by stage; one a stage."""
    client = MlflowClient(f"sqlite:///{clone.path}/mlflow.db")
    place = client.get_experiment_by_name("pneumonia")
    assert place is not None
    found: dict[str, Run] = {}
    for run in client.search_runs([place.experiment_id], f"tags.`dvc.exp_name` = '{experiment}'"):
        if run.info.status == "FINISHED":
            stage = run.data.tags["dvc.stage"]
            assert stage not in found, f"{experiment}: {stage} has two finished runs"
            assert run.info.run_name == f"{stage} {experiment}"
            found[stage] = run
    return found


def expected_metrics(metrics: dict[str, Any], model: str) -> dict[str, float]:
    """What a model's run has to have, from the metrics that DVC shows."""
    evaluated = metrics["reports/evaluate/metrics.json"][model]
    training = metrics[f"models/{model}/metrics.json"]
    found = {name: training[name] for name in ("best_epoch", "best_val_auc")}
    for split in ("val", "test"):
        figures = evaluated[split]
        found |= {
            f"{split}_{name}": value
            for name, value in figures.items()
            if not isinstance(value, dict) and (split, name) != ("val", "auc")
        }
    shifted = evaluated["val"]["robustness"]
    found |= {f"val_shift_mean_{name}": value for name, value in shifted["mean"].items()}
    for strength, worst in shifted["worst"].items():
        found |= {
            f"val_shift_{strength}_worst_{name}": value
            for name, value in worst.items()
            if name in shifted["mean"]
        }
    explained = metrics["reports/gradcam_report/metrics.json"][model]
    kept = {name: value for name, value in explained.items() if name != "cascade"}
    return found | {
        f"gradcam_{name}".replace(".", "_"): value
        for name, value in flat(kept).items()
        if isinstance(value, int | float)
    }


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested blocks to dotted keys."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = prefix + key
        found |= flat(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return found


def disagreements(clone: Clone) -> tuple[int, list[str]]:
    """How many numbers were held against each other, and in which of them the two differ."""
    compared, wrong = 0, []
    for name, row in shown(clone).items():
        runs = finished_runs(clone, name)
        for model in MODELS:
            stage = f"train_{model}"
            if stage not in runs:
                wrong.append(f"{name}: no finished run of {stage}")
                continue
            data = runs[stage].data
            params = flat(row["params"]["params.yaml"][stage])
            pairs = [(key, str(value), data.params.get(key)) for key, value in params.items()]
            numbers = expected_metrics(row["metrics"], model)
            pairs += [(key, value, data.metrics.get(key)) for key, value in numbers.items()]
            compared += len(pairs)
            wrong += [
                f"{name}: {stage}: {key}: DVC {ours}, MLflow {theirs}"
                for key, ours, theirs in pairs
                if ours != theirs
            ]
    return compared, wrong
