"""Look for better params from the command line."""

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


DESCRIPTION = """Search for params that give a training a higher validation AUC.

Trains on the prepared images with values from search.yaml, ends poor trials
early, and prints the experiment that repeats the best trial. The same command
continues after an interruption. The test images are not used."""
DATA, AUDIT = Path("data/prepared"), Path("reports/visualize/leaks.json")
FOLDER = Path("search")
SEARCH_TAG = "pneumonia.search"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `pneumonia search`."""
    parser.description = DESCRIPTION
    parser.add_argument(
        "stage",
        choices=("train_scratch", "train_transfer"),
        help="block of params that is searched",
    )
    parser.add_argument(
        "--space", type=Path, default=Path("search.yaml"), metavar="FILE",
        help="params and ranges to try (search.yaml)",
    )  # fmt: skip
    parser.add_argument(
        "--params", type=Path, default=Path("params.yaml"), metavar="FILE",
        help="params file (params.yaml)",
    )  # fmt: skip
    parser.add_argument(
        "--trials", type=int, metavar="N", help="trials in total (`trials` of search.yaml)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Search, or go on with a search; 0.

    Raises:
        InputError: no Optuna, a mistake in a file, no prepared images, another process at the same
            search, a store that does not answer, or no trial that ended well.
    """
    if importlib.util.find_spec("optuna") is None:
        raise InputError("Optuna is not installed; `make setup-search` installs it")
    if arguments.trials is not None and arguments.trials < 1:
        raise InputError(f"--trials: should be 1 or more, not {arguments.trials}")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

    from pneumonia.core.config import load_params
    from pneumonia.datasets.manifest import require_audit
    from pneumonia.models.checkpoint import Checkpoint
    from pneumonia.search import space, trials
    from pneumonia.tracking.store import connected

    stage = arguments.stage
    block = getattr(load_params(arguments.params), stage)
    plan = space.load_search(arguments.space, stage, block)
    digest = require_audit(DATA, AUDIT)
    folder = FOLDER / stage
    search = trials.Search(stage, block, *_network(stage), plan, DATA, digest, folder)
    with Checkpoint(folder, "").held(), connected():
        print(go_on(search, arguments.trials or plan.trials))
    return 0


def go_on(search: Search, count: int) -> str:
    """Begin a search, or go on with it, until it has so many trials; what came out, in lines.

    Raises:
        InputError: no trial ended well.
    """
    from pneumonia.search import trials

    study = trials.open_study(search)
    before = len(trials.done(study))
    if before:
        print(f"continuing after {before} trials", flush=True)
    parent = _open_parent(search)
    trials.run(search, study, count, parent)
    best = _best(study)
    _close_parent(parent, best.value)
    return _report(search, trials.done(study), best)


def _network(stage: str) -> tuple[Any, Any]:
    from pneumonia.models import scratch, transfer

    network = scratch if stage == "train_scratch" else transfer
    return network.build, network.train


def _best(study: optuna.Study) -> optuna.trial.FrozenTrial:
    """The trial with the highest AUC at its end, the first of equals.

    Raises:
        InputError: there is none.
    """
    try:
        return study.best_trial
    except ValueError:
        raise InputError("no trial ended well; see above, and try narrower ranges") from None


def _report(
    search: Search, done: list[optuna.trial.FrozenTrial], best: optuna.trial.FrozenTrial
) -> str:
    from pneumonia.search.space import present, values

    states = [trial.state.name for trial in done]
    lines = [
        f"{search.stage}: {len(done)} trials, {states.count('COMPLETE')} whole, "
        f"{states.count('PRUNED')} pruned, {states.count('FAIL')} failed"
    ]
    now, found = present(search.block, search.space), values(best.params, search.space)
    for number, trial in enumerate(done, 1):
        if values(trial.params, search.space) == now:
            lines.append(f"params.yaml, trial {number}: {_auc(trial)}")
            break
    lines.append(f"best, trial {done.index(best) + 1}: {_auc(best)}")
    if found == now:
        return "\n".join([*lines, "nothing better than params.yaml was found"])
    settings = [
        f"-S {shlex.quote(f'{search.stage}.{key}={_hydra(value)}')}" for key, value in found.items()
    ]
    return "\n".join([*lines, "dvc exp run " + " ".join(settings)])


def _auc(trial: optuna.trial.FrozenTrial) -> str:
    end = "" if trial.state.name == "COMPLETE" else f" ({trial.state.name.lower()})"
    return f"val_auc {trial.value:.4f}{end}" if trial.value is not None else f"no val_auc{end}"


def _hydra(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _open_parent(search: Search) -> str:
    """The MLflow run that holds the trials' runs, found again by the search's key; its id."""
    import mlflow

    found = mlflow.search_runs(
        filter_string=f"tags.`{SEARCH_TAG}` = '{search.key}'", max_results=1, output_format="list"
    )
    with mlflow.start_run(
        found[0].info.run_id if found else None,
        run_name=None if found else f"search {search.stage}",
        tags={SEARCH_TAG: search.key},
    ) as run:
        if not found:
            axes = {key: axis.model_dump(exclude_unset=True) for key, axis in search.space.items()}
            mlflow.log_params({key: json.dumps(axis) for key, axis in axes.items()})
    mlflow.MlflowClient().update_run(run.info.run_id, status="RUNNING")
    return run.info.run_id


def _close_parent(parent: str, auc: float | None) -> None:
    import mlflow

    client = mlflow.MlflowClient()
    if auc is not None:
        client.log_metric(parent, "best_val_auc", auc)
    client.set_terminated(parent, "FINISHED")
