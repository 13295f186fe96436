"""Trainings that were killed: the run to go on in, and runs that nobody will end.

A killed process leaves its run open. Until a training ends it holds the checkpoint beside its
model's folder, so whoever trains there next knows that an open run of that folder is a dead one's.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow.entities import Run

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
