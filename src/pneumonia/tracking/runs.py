"""MLflow runs: one for each training, which later stages find again and add figures to.

A run belongs to a training by content: its tag `pneumonia.weights_sha256` is the hash of the
weights. No output of a stage contains a run id, so cached stages work with an empty store:
`open_run` finds the run of a trained model, or makes it again from the model's files.

A killed process leaves its run open. A training holds the checkpoint beside its model's folder
until it ends, so an open run of the same folder is the run of a killed training: it is continued or
ended.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from pneumonia.core import files
from pneumonia.datasets.manifest import NAME
from pneumonia.tracking.store import (
    connect,
    describe_error,
    reporting_errors,
    retry_on_conflict,
)

if TYPE_CHECKING:
    import mlflow
    from mlflow.entities import Run


TRAINING_TAG = "pneumonia.training"
FOLDER_TAG = "pneumonia.folder"
WEIGHTS_TAG = "pneumonia.weights_sha256"
CACHED_TAG = "pneumonia.trained_in"
EXPERIMENT_TAGS = ("dvc.exp_name", "dvc.exp_baseline_rev")
# MLflow's word for the use of each split.
CONTEXTS = {"train": "training", "val": "validation", "test": "testing"}
DIGEST = 16  # characters of a digest that are logged; MLflow allows 36


@contextmanager
def training_run(
    stage: str, params: dict[str, Any], data_digest: str, image_size: int, images: pd.DataFrame,
    key: str = "", history: Sequence[dict[str, float]] = (),
    further: Mapping[str, str] | None = None, folder: Path | None = None,
) -> Iterator[Callable[[dict[str, float]], None]]:  # fmt: skip
    """Open a run for a training that is about to start; yields a function that logs an epoch.

    The run ends as FAILED if the block raises. `finish` adds the hash of the weights and figures.

    Args:
        stage: names the run.
        params: of the training.
        data_digest, image_size: of the prepared images; side in px.
        images: their manifest.
        key: names the training; a resumed training finds its run by it.
        history: the epochs that a resumed training has finished. The run in which they were logged
            is continued, and those that it lacks (after a kill, or in another store) are logged.
        further: more tags of the run.
        folder: of the model, whose checkpoint this process holds: open runs of killed trainings of
            that folder are ended, or continued.

    Raises:
        InputError: the store does not answer.
    """
    import mlflow

    connect()
    with reporting_errors():
        interrupted = _interrupted_run(key, history, folder)
        tags = _tags(stage) | ({TRAINING_TAG: key} if key else {}) | dict(further or {})
        tags |= {FOLDER_TAG: folder_id(folder)} if folder else {}
        name = " ".join(filter(None, [stage, os.environ.get("DVC_EXP_NAME")]))
        if interrupted:
            # It may be of another experiment, which was killed; it takes the name of this one.
            run_id = interrupted.info.run_id
            mlflow.MlflowClient().update_run(run_id, name=name)
            run = mlflow.start_run(run_id=run_id, tags=tags)
        else:
            run = mlflow.start_run(run_name=name, tags=tags)
        with run:
            # Also in an interrupted run, which may lack some.
            mlflow.log_params(flatten(params))
            mlflow.log_params({"data_digest": data_digest[:DIGEST], "image_size": image_size})
            _log_data(images, data_digest, ("train", "val"))
            log_missing(history)
            yield _epoch_logger()


def finish(folder: Path) -> None:
    """Tie the open run to the trained model in `folder`, and log its history and best epoch."""
    import mlflow

    log_missing(_read_history(folder))
    mlflow.set_tag(WEIGHTS_TAG, weights_sha256(folder))
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    mlflow.log_metrics({name: metrics[name] for name in ("best_epoch", "best_val_auc")})
    mlflow.log_artifact(str(folder / "history.csv"))
    mlflow.log_artifact(str(folder / "training.json"))


@contextmanager
def open_run(folder: Path, images: pd.DataFrame) -> Iterator[mlflow.ActiveRun]:
    """Resume the run of the trained model in `folder`, or make it from the files there.

    It is the latest run of these weights in this DVC experiment. An experiment whose training comes
    from DVC's cache gets its own run, tagged with the id of the run that trained, so that the
    figures of one experiment do not replace those of another. The test images become an input, too.

    Args:
        folder: of the trained model.
        images: the manifest of the images that it was trained on.
    """
    import mlflow

    connect()
    record = files.read_record(folder)
    stage, digest = f"train_{record['model']}", record["data_digest"]
    same_weights = _tagged_runs(WEIGHTS_TAG, weights_sha256(folder))
    experiment = _experiment(_tags(stage))
    own = [run for run in same_weights if _experiment(run.data.tags) == experiment]
    if own:
        with mlflow.start_run(run_id=own[0].info.run_id) as run:
            _log_data(images, digest, tuple(CONTEXTS))
            yield run
        return
    history = _read_history(folder)
    with training_run(
        stage, record["params"], digest, record["image_size"], images, history=history
    ):
        if same_weights:
            mlflow.set_tag(CACHED_TAG, same_weights[-1].info.run_id)
        finish(folder)
        _log_data(images, digest, tuple(CONTEXTS))
        yield active_run()


def active_run() -> mlflow.ActiveRun:
    """The open run, where there is one for sure."""
    import mlflow

    run = mlflow.active_run()
    assert run is not None
    return run


def log_missing(history: Sequence[dict[str, float]]) -> None:
    """Log the epochs that the open run lacks."""
    import mlflow

    points = mlflow.MlflowClient().get_metric_history(active_run().info.run_id, "val_loss")
    logged = {point.step for point in points}
    for epoch in history:
        if epoch["epoch"] not in logged:
            _log_epoch(epoch)


def _epoch_logger() -> Callable[[dict[str, float]], None]:
    """A function that logs an epoch. If the store fails, the training continues without it."""
    from mlflow.exceptions import MlflowException

    failed = False

    def log(epoch: dict[str, float]) -> None:
        nonlocal failed
        if failed:  # another attempt would wait half a minute
            return
        try:
            _log_epoch(epoch)
        except MlflowException as error:
            failed = True
            print(
                f"{describe_error(error)}; the training continues, and tries again at its end",
                file=sys.stderr,
            )

    return log


def _log_epoch(epoch: dict[str, float]) -> None:
    import mlflow

    # The frozen phase, epoch 0, has no training loss: an empty cell in history.csv.
    values = {key: value for key, value in epoch.items() if not math.isnan(value)}
    mlflow.log_metrics(values, step=int(values.pop("epoch")))


def _log_data(table: pd.DataFrame, data_digest: str, splits: tuple[str, ...]) -> None:
    """Add splits of a manifest to the inputs of the open run as data sets, if it lacks them.

    The store gets names and types of the columns and the number of rows, but no row.

    Args:
        table: the whole manifest.
        data_digest: of the prepared folder.
        splits: of `CONTEXTS`.
    """
    import mlflow
    from mlflow.data.pandas_dataset import PandasDataset
    from mlflow.data.sources import LocalArtifactDatasetSource

    # Relative to the repository: its location on this machine is private.
    source = LocalArtifactDatasetSource(f"data/prepared/{NAME}")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="(?s).*integer column")
        for split in splits:
            images = table[table["split"] == split]
            name, digest = f"images_{split}", data_digest[:DIGEST]
            data = PandasDataset(images, source, targets="label", name=name, digest=digest)
            retry_on_conflict(mlflow.log_input, data, CONTEXTS[split])


def _read_history(folder: Path) -> list[dict[str, float]]:
    """The history of a trained model, a row an epoch."""
    rows = pd.read_csv(folder / "history.csv").to_dict("records")
    return [{str(key): value for key, value in row.items()} for row in rows]


def folder_id(folder: Path) -> str:
    """An id of a model's folder on this machine that does not reveal its path."""
    return hashlib.sha256(f"{os.uname().nodename}\0{folder.resolve()}".encode()).hexdigest()[:16]


def _interrupted_run(
    key: str, history: Sequence[dict[str, float]], folder: Path | None
) -> Run | None:
    """The run that a training continues, if there is one; ends other open runs of the folder.

    Args:
        key: names the training.
        history: its finished epochs. With some it may continue a run of another folder, such as of
            an experiment that was killed in a temporary copy.
        folder: of the model, whose checkpoint this process holds.
    """
    import mlflow

    own: list[Run] = []
    for run in _tagged_runs(FOLDER_TAG, folder_id(folder)) if folder else ():
        if run.info.status != "RUNNING":
            continue
        if run.data.tags.get(TRAINING_TAG) == key and not own:
            own.append(run)
        else:
            mlflow.MlflowClient().set_terminated(run.info.run_id, "KILLED")
    candidates = own or (_tagged_runs(TRAINING_TAG, key) if key and history else [])
    return candidates[0] if candidates else None


def _tagged_runs(name: str, value: str) -> list[Run]:
    """The runs with this tag, the latest first."""
    import mlflow

    return mlflow.search_runs(
        filter_string=f"tags.`{name}` = '{value}'",
        order_by=["attributes.start_time DESC"],
        output_format="list",
    )


def weights_sha256(folder: Path) -> str:
    """SHA-256 of a trained model's weights file."""
    return hashlib.sha256(files.read_checked(folder / "weights.weights.h5")).hexdigest()


def git_commit() -> str:
    """The commit at HEAD, with "+" where tracked files differ from it; empty outside git."""
    try:
        import git

        repository = git.Repo(search_parent_directories=True)
        return repository.head.commit.hexsha + ("+" if repository.is_dirty() else "")
    except Exception:  # no git, no repository, no commit: the run is worth logging all the same
        return ""


def _tags(stage: str) -> dict[str, str]:
    tags = {
        "dvc.stage": stage,
        "dvc.exp_name": os.environ.get("DVC_EXP_NAME", ""),
        "dvc.exp_baseline_rev": os.environ.get("DVC_EXP_BASELINE_REV", ""),
        "git.commit": git_commit(),
    }
    return {key: value for key, value in tags.items() if value}


def _experiment(tags: dict[str, str]) -> list[str | None]:
    return [tags.get(name) for name in EXPERIMENT_TAGS]


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one, with a prefix and dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
