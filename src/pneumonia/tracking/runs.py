"""Writing to a store that other processes write to.

The prepared images as MLflow data sets: one a split, named by the digest of all of them.

The epochs of a training in its run, each once.

Trainings that were killed: the run to go on in, and runs that nobody will end.

A killed process leaves its run open. Until a training ends it holds the checkpoint beside its
model's folder, so whoever trains there next knows that an open run of that folder is a dead one's.

MLflow: a run a training, the test figures in the same run, the champion in the registry.

A run belongs to a training by content: the tag `pneumonia.weights_sha256` is the hash of the
weights. No output of a stage holds a run id, so a cached stage and an empty tracking store still
meet: `open_run` finds the run of a trained model, or makes it again from the model's files.
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
from typing import TYPE_CHECKING, Any, ParamSpec

import pandas as pd

from pneumonia.core import files
from pneumonia.datasets.manifest import NAME
from pneumonia.tracking.store import answering, connect, trouble

if TYPE_CHECKING:
    import mlflow
    from mlflow.entities import Run



P = ParamSpec("P")


def write(call: Callable[P, object], *arguments: P.args, **keywords: P.kwargs) -> None:
    """Write a tag, an alias or a data set that another process may be writing, too.

    MLflow looks for the row and then inserts it. Of two that insert at once the database refuses
    one; its second attempt finds the row.
    """
    from mlflow.exceptions import MlflowException

    try:
        call(*arguments, **keywords)
    except MlflowException as error:
        # "UNIQUE constraint failed" (SQLite), "violates unique constraint" (PostgreSQL)
        if "unique" not in str(error).lower():
            raise
        call(*arguments, **keywords)


# By split, MLflow's word for what it is used for.
CONTEXTS = {"train": "training", "val": "validation", "test": "testing"}
# MLflow takes 36 characters of a digest; the runs' param `data_digest` has as many as this.
DIGEST = 16


def log_data(table: pd.DataFrame, data_digest: str, splits: tuple[str, ...]) -> None:
    """Add splits of a manifest to the inputs of the open run; those that it has already stay.

    The store gets names and types of the columns and the number of rows, no row.

    Args:
        table: the whole manifest.
        data_digest: of the prepared folder.
        splits: of `CONTEXTS`.
    """
    import mlflow
    from mlflow.data.pandas_dataset import PandasDataset
    from mlflow.data.sources import LocalArtifactDatasetSource

    # Relative to the repository: where that lies on this machine is nobody's business.
    source = LocalArtifactDatasetSource(f"data/prepared/{NAME}")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="(?s).*integer column")
        for split in splits:
            images = table[table["split"] == split]
            name, digest = f"images_{split}", data_digest[:DIGEST]
            data = PandasDataset(images, source, targets="label", name=name, digest=digest)
            write(mlflow.log_input, data, CONTEXTS[split])


def read_epochs(folder: Path) -> list[dict[str, float]]:
    """A row an epoch, of a trained model."""
    rows = pd.read_csv(folder / "history.csv").to_dict("records")
    return [{str(key): value for key, value in row.items()} for row in rows]


def log_missing(history: Sequence[dict[str, float]]) -> None:
    """Log those epochs that the open run has not."""
    import mlflow

    run = mlflow.active_run()
    assert run is not None
    points = mlflow.MlflowClient().get_metric_history(run.info.run_id, "val_loss")
    logged = {point.step for point in points}
    for epoch in history:
        if epoch["epoch"] not in logged:
            _log(epoch)


def logger() -> Callable[[dict[str, float]], None]:
    """What logs an epoch. A store that stumbles must not cost a training: `finish` tries again."""
    from mlflow.exceptions import MlflowException

    away = False

    def log(epoch: dict[str, float]) -> None:
        nonlocal away
        if away:  # asking again takes half a minute each time
            return
        try:
            _log(epoch)
        except MlflowException as error:
            away = True
            print(
                f"{trouble(error)}; the training goes on, and its end will ask again",
                file=sys.stderr,
            )

    return log


def _log(epoch: dict[str, float]) -> None:
    import mlflow

    # The frozen phase, epoch 0, has no training loss; in history.csv that is an empty cell.
    values = {key: value for key, value in epoch.items() if not math.isnan(value)}
    mlflow.log_metrics(values, step=int(values.pop("epoch")))


TRAINING_TAG = "pneumonia.training"
PLACE_TAG = "pneumonia.place"


def place(folder: Path) -> str:
    """Names a model's folder on this machine, without telling where it is."""
    return hashlib.sha256(f"{os.uname().nodename}\0{folder.resolve()}".encode()).hexdigest()[:16]


def tagged(name: str, value: str) -> list[Run]:
    """The runs with this tag, the latest first."""
    import mlflow

    return mlflow.search_runs(
        filter_string=f"tags.`{name}` = '{value}'",
        order_by=["attributes.start_time DESC"],
        output_format="list",
    )


def to_go_on(key: str, history: Sequence[dict[str, float]], folder: Path | None) -> Run | None:
    """The run in which a training goes on, if there is one; ends what else was left open there.

    Args:
        key: names the training.
        history: the epochs behind it. With some it may go on in a run of another folder, as that of
            an experiment that was killed in a temporary copy.
        folder: of the model, whose checkpoint this process holds.
    """
    import mlflow

    own: list[Run] = []
    for run in tagged(PLACE_TAG, place(folder)) if folder else ():
        if run.info.status != "RUNNING":
            continue
        if run.data.tags.get(TRAINING_TAG) == key and not own:
            own.append(run)
        else:
            mlflow.MlflowClient().set_terminated(run.info.run_id, "KILLED")
    found = own or (tagged(TRAINING_TAG, key) if key and history else [])
    return found[0] if found else None


WEIGHTS_TAG = "pneumonia.weights_sha256"
CACHED_TAG = "pneumonia.trained_in"
EXPERIMENT_TAGS = ("dvc.exp_name", "dvc.exp_baseline_rev")


@contextmanager
def training_run(
    stage: str,
    params: dict[str, Any],
    data_digest: str,
    image_size: int,
    images: pd.DataFrame,
    key: str = "",
    history: Sequence[dict[str, float]] = (),
    further: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Iterator[Callable[[dict[str, float]], None]]:
    """Open a run for a training that is about to happen; yields what logs one epoch.

    The run ends FAILED if the block raises. `finish` gives it its weights' hash and its figures.

    Args:
        stage: names the run.
        params: the stage's block.
        data_digest, image_size: of the prepared images; side in px.
        images: their manifest.
        key: names the training; a resumed one finds its run by it.
        history: the epochs that a resumed training has behind it. They go on in the run where they
            were logged, and whichever is missing there (killed in between, or another store) is
            logged now.
        further: tags of the run besides those of every training.
        folder: of the model, whose checkpoint this process holds: of former runs of that folder
            those that are still open are ended, or gone on in.

    Raises:
        InputError: the store does not answer.
    """
    import mlflow

    connect()
    with answering():
        earlier = to_go_on(key, history, folder)
        tags = _tags(stage) | ({TRAINING_TAG: key} if key else {}) | dict(further or {})
        tags |= {PLACE_TAG: place(folder)} if folder else {}
        if earlier:
            # What was killed may have been another experiment, of which nothing else is left.
            run_id = earlier.info.run_id
            mlflow.MlflowClient().update_run(run_id, name=_run_name(stage))
            opened = mlflow.start_run(run_id=run_id, tags=tags)
        else:
            opened = mlflow.start_run(run_name=_run_name(stage), tags=tags)
        with opened:
            # Also into an earlier one: it may have been killed before it had them all.
            mlflow.log_params(flatten(params))
            mlflow.log_params({"data_digest": data_digest[:DIGEST], "image_size": image_size})
            log_data(images, data_digest, ("train", "val"))
            log_missing(history)
            yield logger()


def finish(folder: Path) -> None:
    """Tie the open run to the trained model in `folder`, and log its history and best epoch."""
    import mlflow

    log_missing(read_epochs(folder))
    mlflow.set_tag(WEIGHTS_TAG, weights_sha256(folder))
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    mlflow.log_metrics({name: metrics[name] for name in ("best_epoch", "best_val_auc")})
    mlflow.log_artifact(str(folder / "history.csv"))
    mlflow.log_artifact(str(folder / "training.json"))


@contextmanager
def open_run(folder: Path, images: pd.DataFrame) -> Iterator[mlflow.ActiveRun]:
    """Resume the run of the trained model in `folder`, or make it from the files there.

    The latest run with the weights' hash that belongs to this DVC experiment is taken. An
    experiment that has its training from DVC's cache gets a run of its own, tagged with the id of
    the one that trained: figures of one experiment do not replace those of another. The test images
    join its data.

    Args:
        folder: of the trained model.
        images: the manifest of the images that it was trained on.
    """
    import mlflow

    connect()
    record = files.read_record(folder)
    stage = f"train_{record['model']}"
    found = tagged(WEIGHTS_TAG, weights_sha256(folder))
    own = [run for run in found if _experiment(run.data.tags) == _experiment(_tags(stage))]
    if own:
        with mlflow.start_run(run_id=own[0].info.run_id) as run:
            log_data(images, record["data_digest"], tuple(CONTEXTS))
            yield run
        return
    with training_run(
        stage,
        record["params"],
        record["data_digest"],
        record["image_size"],
        images,
        history=read_epochs(folder),
    ):
        if found:
            mlflow.set_tag(CACHED_TAG, found[-1].info.run_id)
        finish(folder)
        log_data(images, record["data_digest"], tuple(CONTEXTS))
        run = mlflow.active_run()
        assert run is not None
        yield run


def end_open_runs(name: str, baseline: str) -> None:
    """Mark the runs of a DVC experiment that died as killed, where they are still open."""
    import mlflow

    client = mlflow.MlflowClient()
    for run in tagged(EXPERIMENT_TAGS[0], name):
        if run.info.status == "RUNNING" and _experiment(run.data.tags) == [name, baseline]:
            client.set_terminated(run.info.run_id, "KILLED")


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


def _run_name(stage: str) -> str:
    experiment = os.environ.get("DVC_EXP_NAME")
    return f"{stage} {experiment}" if experiment else stage


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
    """Nested dictionaries as one, with dotted keys behind a prefix."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
