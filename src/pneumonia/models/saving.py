"""The files that a training hands on.

A trained network from its files, for what the exported graph cannot answer: gradients.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from pneumonia.core import files
from pneumonia.core.config import ScratchParams, TrainingParams, TransferParams
from pneumonia.core.errors import InputError
from pneumonia.core.files import write_json
from pneumonia.models import scratch, transfer
from pneumonia.models.export import export
from pneumonia.models.loop import Epoch

if TYPE_CHECKING:
    import keras


# Whose SHA-256 is compared when they are loaded.
CHECKED = ("weights.weights.h5", "graph.onnx", "second_seed.weights.h5")


def save_model(
    model: keras.Model,
    second: tuple[keras.Model, list[Epoch]],
    history: list[Epoch],
    params: TrainingParams,
    data_digest: str,
    folder: Path,
) -> None:
    """Write what a training stage hands on; nothing in it depends on clock or place.

    Files: `weights.weights.h5` (Keras), `graph.onnx`, `second_seed.weights.h5` (of `second`, a
    network and its history), `history.csv` (a row an epoch), `metrics.json` (of the last epoch,
    which is the one kept, and which one was best), `training.json` (params and the data's digest,
    from which a lost MLflow run can be made again, and the SHA-256 of weights and graph).
    """
    other, epochs = second
    weights, graph, others = (folder / name for name in CHECKED)
    model.save_weights(weights)
    export(model, graph)
    other.save_weights(others)
    pd.DataFrame(history).to_csv(folder / "history.csv", index=False, lineterminator="\n")
    last = {key: value for key, value in history[-1].items() if key != "learning_rate"}
    assert not math.isnan(last["val_auc"])
    second_auc = {"second_seed_val_auc": epochs[-1]["val_auc"]}
    write_json(folder / "metrics.json", last | best(history) | second_auc)
    record = {
        "model": model.name,
        "params": params.model_dump(),
        "data_digest": data_digest,
        "image_size": model.input.shape[1],
        "weights": int(model.count_params()),
        "sha256": files.hashes(folder / name for name in CHECKED),
    }
    write_json(folder / "training.json", record)


def best(history: Sequence[Epoch]) -> Epoch:
    """The epoch with the highest validation AUC, the first of equals: best_epoch, best_val_auc."""
    row = max(history, key=lambda epoch: epoch["val_auc"])
    return {"best_epoch": row["epoch"], "best_val_auc": row["val_auc"]}


def load_network(folder: Path, weights: str = "weights.weights.h5") -> keras.Model:
    """Build the network that `training.json` in `folder` describes, with weights from there.

    Raises:
        InputError: files that are not there, or do not belong together.
    """
    import keras

    # Layers without a name of their own get those of a fresh process, however many were built.
    keras.utils.clear_session(free_memory=False)
    record = files.read_record(folder)
    try:
        files.read_checked(folder / weights)
        # As in a fresh build, but for ImageNet's weights, which would be replaced.
        if record["model"] == "scratch":
            params = ScratchParams.model_validate(record["params"])
            model = scratch.build(params, record["image_size"])
        else:
            block = TransferParams.model_validate(record["params"] | {"weights": "random"})
            model = transfer.build(block, record["image_size"])
        model.load_weights(folder / weights)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{folder}: {reason}; `dvc repro` trains anew") from None
    return model
