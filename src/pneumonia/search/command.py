"""The command `pneumonia search`: find better params for a training."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumonia.core.errors import InputError

if TYPE_CHECKING:
    import optuna

    from pneumonia.search.trials import Search


DESCRIPTION = """Find params with which a training reaches a higher validation AUC.

Trains on the prepared images with other values of the params in search.yaml,
stops trials that fall behind, and prints the experiment that repeats the best
trial. A search that was stopped or killed continues when it is started again.
It does not use the test images."""
DATA, AUDIT = Path("data/prepared"), Path("reports/visualize/leaks.json")
FOLDER = Path("search")
SEARCH_TAG = "pneumonia.search"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `pneumonia search`."""
    parser.add_argument(
        "stage", choices=("train_scratch", "train_transfer"),
        help="block of params that is searched",
    )  # fmt: skip
    parser.add_argument(
        "--space", type=Path, default=Path("search.yaml"), metavar="FILE",
        help="the values to try (search.yaml)",
    )  # fmt: skip
    parser.add_argument("--trials", type=int, help="trials in all (`trials` of the file)")


def run(arguments: argparse.Namespace) -> int:
    """Start a search, or continue it; return 0.

    Raises:
        InputError: Optuna is missing, a file has a mistake, there are no prepared images, another
            process runs the same search, the store does not answer, or no trial was completed.
    """
    if importlib.util.find_spec("optuna") is None:
        raise InputError("Optuna is not installed; `make setup-search` installs it")
    if arguments.trials is not None and arguments.trials < 1:
        raise InputError(f"--trials: should be 1 or more, not {arguments.trials}")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

    from pneumonia.core.config import load_params
    from pneumonia.datasets.manifest import require_audit
    from pneumonia.models import scratch, transfer
    from pneumonia.models.checkpoint import Checkpoint
    from pneumonia.search import space, trials
    from pneumonia.tracking.store import connected

    stage = arguments.stage
    params = load_params(arguments.params)
    plan = space.load_search(arguments.space, stage, params)
    digest = require_audit(DATA, AUDIT)
    network = scratch if stage == "train_scratch" else transfer
    search = trials.Search(stage, params, network, plan, DATA, digest, FOLDER / stage)
    with Checkpoint(search.folder, "").locked(), connected():
        print(run_search(search, arguments.trials or plan.trials))
    return 0


def run_search(search: Search, count: int) -> str:
    """Start or continue a search until it has `count` trials; return the report as lines.

    Raises:
        InputError: no trial was completed.
    """
    from pneumonia.search import trials

    study = trials.open_study(search)
    before = len(trials.finished_trials(study))
    if before:
        print(f"continuing after {before} trials", flush=True)
    parent = _open_parent_run(search)
    trials.run_trials(search, study, count, parent)
    try:
        best = study.best_trial  # the first one if several are equally good
    except ValueError:
        raise InputError("no trial was completed; see above, and try narrower ranges") from None
    _close_parent_run(parent, best.value)
    return _report(search, trials.finished_trials(study), best)


def _report(
    search: Search, trials: list[optuna.trial.FrozenTrial], best: optuna.trial.FrozenTrial
) -> str:
    from pneumonia.search.space import from_optuna, full_key

    states = [trial.state.name for trial in trials]
    lines = [
        f"{search.stage}: {len(trials)} trials, {states.count('COMPLETE')} complete, "
        f"{states.count('PRUNED')} pruned, {states.count('FAIL')} failed"
    ]
    current, best_values = search.current, from_optuna(best.params, search.space)
    for number, trial in enumerate(trials, 1):
        if from_optuna(trial.params, search.space) == current:
            lines.append(f"params.yaml, trial {number}: {_auc(trial)}")
            break
    lines.append(f"best, trial {trials.index(best) + 1}: {_auc(best)}")
    if best_values == current:
        return "\n".join([*lines, "no trial was better than params.yaml"])
    settings = [
        f"-S {shlex.quote(f'{full_key(search.stage, key)}={_hydra(value)}')}"
        for key, value in best_values.items()
    ]
    return "\n".join([*lines, "dvc exp run " + " ".join(settings)])


def _auc(trial: optuna.trial.FrozenTrial) -> str:
    end = "" if trial.state.name == "COMPLETE" else f" ({trial.state.name.lower()})"
    return f"val_auc {trial.value:.4f}{end}" if trial.value is not None else f"no val_auc{end}"


def _hydra(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _open_parent_run(search: Search) -> str:
    """Open the MLflow run that contains the runs of the trials; return its id.

    A continued search finds its run by the search's key.
    """
    import mlflow

    former = mlflow.search_runs(
        filter_string=f"tags.`{SEARCH_TAG}` = '{search.key}'", max_results=1, output_format="list"
    )
    with mlflow.start_run(
        former[0].info.run_id if former else None,
        run_name=None if former else f"search {search.stage}",
        tags={SEARCH_TAG: search.key},
    ) as run:
        if not former:
            axes = {key: axis.model_dump(exclude_unset=True) for key, axis in search.space.items()}
            mlflow.log_params({key: json.dumps(axis) for key, axis in axes.items()})
    mlflow.MlflowClient().update_run(run.info.run_id, status="RUNNING")
    return run.info.run_id


def _close_parent_run(parent: str, auc: float | None) -> None:
    import mlflow

    client = mlflow.MlflowClient()
    if auc is not None:
        client.log_metric(parent, "best_val_auc", auc)
    client.set_terminated(parent, "FINISHED")
