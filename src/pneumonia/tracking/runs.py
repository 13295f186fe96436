"""MLflow runs: each training has one run; later stages find this run and add figures to it.

The hash of the weights connects a run and a training: it is the tag `pneumonia.weights_sha256`.
No output of a stage contains a run id, so cached stages work with an empty store: `open_run` finds
the run of a trained model, or makes it again from the model's files.

A killed process leaves its run open. A running training locks the checkpoint beside its model's
folder. So if a new training has this lock, an open run of the same folder comes from a killed
training. The new training continues or ends this run.
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
# MLflow's name for the use of each split.
CONTEXTS = {"train": "training", "val": "validation", "test": "testing"}
DIGEST = 16  # so many characters of a digest are logged; MLflow allows 36


@contextmanager
def training_run(
    stage: str, params: dict[str, Any], data_digest: str, image_size: int, images: pd.DataFrame,
    key: str = "", history: Sequence[dict[str, float]] = (),
    further: Mapping[str, str] | None = None, folder: Path | None = None,
) -> Iterator[Callable[[dict[str, float]], None]]:  # fmt: skip
    """Open a run before a training starts; yield a function that logs an epoch.

    If the block raises, the run ends as FAILED. `finish` adds the hash of the weights and figures.

    Args:
        stage: the stage's name, which becomes the name of the run.
        params: the params of the training.
        data_digest, image_size: the digest of the prepared images, and their side in px.
        images: the manifest of the prepared images.
        key: a name for the training; a resumed training uses it to find its run.
        history: the epochs that a resumed training has finished. Its old run is continued. Epochs
            that the run lacks (after a kill, or in another store) are logged now.
        further: more tags of the run.
        folder: the model's folder; this process must hold the lock of its checkpoint. Open runs
            of killed trainings of this folder are ended or continued.

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
            # The old run may come from another, killed experiment; give it the new name.
            run_id = interrupted.info.run_id
            mlflow.MlflowClient().update_run(run_id, name=name)
            run = mlflow.start_run(run_id=run_id, tags=tags)
        else:
            run = mlflow.start_run(run_name=name, tags=tags)
        with run:
            # Log them in an interrupted run, too: some may be missing there.
            mlflow.log_params(flatten(params))
            mlflow.log_params({"data_digest": data_digest[:DIGEST], "image_size": image_size})
            _log_data(images, data_digest, ("train", "val"))
            log_missing(history)
            yield _epoch_logger()


def finish(folder: Path) -> None:
    """Connect the open run with the trained model in `folder`; log its history and best epoch."""
    import mlflow

    log_missing(_read_history(folder))
    mlflow.set_tag(WEIGHTS_TAG, weights_sha256(folder))
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    mlflow.log_metrics({name: metrics[name] for name in ("best_epoch", "best_val_auc")})
    mlflow.log_artifact(str(folder / "history.csv"))
    mlflow.log_artifact(str(folder / "training.json"))


@contextmanager
def open_run(folder: Path, images: pd.DataFrame) -> Iterator[mlflow.ActiveRun]:
    """Continue the run of the trained model in `folder`, or make a run from the files there.

    The run is the latest with these weights in this DVC experiment. If an experiment's training
    comes from DVC's cache, the experiment gets its own run, with a tag that names the original run.
    So no experiment replaces another one's figures. The test images become an input, too.

    Args:
        folder: the trained model's folder.
        images: the manifest of the images that the model was trained on.
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
    """The open run; the caller must be sure that there is one."""
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
    """Make a function that logs an epoch. After an error of the store, it logs nothing more."""
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

    # Epoch 0, the frozen phase, has no training loss; its cell in history.csv is empty.
    values = {key: value for key, value in epoch.items() if not math.isnan(value)}
    mlflow.log_metrics(values, step=int(values.pop("epoch")))


def _log_data(table: pd.DataFrame, data_digest: str, splits: tuple[str, ...]) -> None:
    """Add splits of a manifest, as data sets, to the inputs of the open run, if they are missing.

    The store gets the columns' names and types and the number of rows, but no rows.

    Args:
        table: the whole manifest.
        data_digest: the digest of the prepared folder.
        splits: the splits to add; names from `CONTEXTS`.
    """
    import mlflow
    from mlflow.data.pandas_dataset import PandasDataset
    from mlflow.data.sources import LocalArtifactDatasetSource

    # Give a path in the repository: the full path on this machine is private.
    source = LocalArtifactDatasetSource(f"data/prepared/{NAME}")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="(?s).*integer column")
        for split in splits:
            images = table[table["split"] == split]
            name, digest = f"images_{split}", data_digest[:DIGEST]
            data = PandasDataset(images, source, targets="label", name=name, digest=digest)
            retry_on_conflict(mlflow.log_input, data, CONTEXTS[split])


def _read_history(folder: Path) -> list[dict[str, float]]:
    """Read the history of a trained model; each epoch is one dictionary."""
    rows = pd.read_csv(folder / "history.csv").to_dict("records")
    return [{str(key): value for key, value in row.items()} for row in rows]


def folder_id(folder: Path) -> str:
    """Make an id for a model's folder on this machine; the id does not reveal the path."""
    return hashlib.sha256(f"{os.uname().nodename}\0{folder.resolve()}".encode()).hexdigest()[:16]


def _interrupted_run(
    key: str, history: Sequence[dict[str, float]], folder: Path | None
) -> Run | None:
    """Find the run that a training continues, if any, and end other open runs of the folder.

    Args:
        key: the name of the training.
        history: the training's finished epochs. If there are any, the run may be of another folder,
            for example of an experiment that was killed in a temporary copy.
        folder: the model's folder; this process must hold the lock of its checkpoint.
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
    """All runs with this tag; the latest run comes first."""
    import mlflow

    return mlflow.search_runs(
        filter_string=f"tags.`{name}` = '{value}'",
        order_by=["attributes.start_time DESC"],
        output_format="list",
    )


def weights_sha256(folder: Path) -> str:
    """The SHA-256 of a trained model's weights file."""
    return hashlib.sha256(files.read_checked(folder / "weights.weights.h5")).hexdigest()


def git_commit() -> str:
    """The commit at HEAD, followed by "+" if tracked files have changed; empty without git."""
    try:
        import git

        repository = git.Repo(search_parent_directories=True)
        return repository.head.commit.hexsha + ("+" if repository.is_dirty() else "")
    except Exception:  # without git, repository or commit: log the run without it
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
    """Turn nested dictionaries into one with dotted keys; each key begins with `prefix`."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
