"""The epochs of a training in its run, each once."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from pneumonia.tracking.store import trouble


def read(folder: Path) -> list[dict[str, float]]:
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
