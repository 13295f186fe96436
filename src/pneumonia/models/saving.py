"""Write the files of a trained network, and load the network to compute gradients."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from pneumonia.core import files
from pneumonia.core.config import ScratchParams, TransferParams
from pneumonia.core.errors import InputError
from pneumonia.core.files import write_json
from pneumonia.models import scratch, transfer
from pneumonia.models.export import export
from pneumonia.models.loop import Epoch

if TYPE_CHECKING:
    import keras


# The SHA-256 of each file is recorded when it is written, and compared when it is loaded.
CHECKED = ("weights.weights.h5", "graph.onnx", "second_seed.weights.h5")


def save_model(
    model: keras.Model, second: tuple[keras.Model, list[Epoch]], history: list[Epoch],
    params: dict[str, Any], data_digest: str, folder: Path,
) -> None:  # fmt: skip
    """Write the output of a training stage; it does not depend on the time or the machine.

    Files: `weights.weights.h5` (Keras), `graph.onnx`, `second_seed.weights.h5` (the weights of the
    network in `second`), `history.csv` (one row per epoch), `metrics.json` (metrics of the last
    epoch, whose weights are saved, and the best epoch), `training.json` (params, data digest, and
    SHA-256 of weights and graph; enough to make a lost MLflow run again).
    """
    second_model, second_history = second
    weights, graph, second_weights = (folder / name for name in CHECKED)
    model.save_weights(weights)
    export(model, graph)
    second_model.save_weights(second_weights)
    pd.DataFrame(history).to_csv(folder / "history.csv", index=False, lineterminator="\n")
    last = {key: value for key, value in history[-1].items() if key != "learning_rate"}
    assert not math.isnan(last["val_auc"])
    best = max(history, key=lambda epoch: epoch["val_auc"])  # the first of equals
    last |= {"best_epoch": best["epoch"], "best_val_auc": best["val_auc"]}
    last |= {"second_seed_val_auc": second_history[-1]["val_auc"]}
    write_json(folder / "metrics.json", last)
    record = {
        "model": model.name,
        "params": params,
        "data_digest": data_digest,
        "image_size": model.input.shape[1],
        "weights": int(model.count_params()),
        "sha256": files.hashes(folder / name for name in CHECKED),
    }
    write_json(folder / "training.json", record)


def load_network(folder: Path, weights: str = "weights.weights.h5") -> keras.Model:
    """Build the network that `training.json` in `folder` describes, and load its weights.

    Args:
        weights: the name of the weights file in `folder`, of the first or the second seed.

    Raises:
        InputError: a file is missing or damaged, or the files do not belong together.
    """
    import keras

    # After this, layers without a name get the same names as in a fresh process.
    keras.utils.clear_session(free_memory=False)
    record = files.read_record(folder)
    try:
        files.read_checked(folder / weights)
        values = {key: value for key, value in record["params"].items() if key != "augment"}
        if record["model"] == "scratch":
            model = scratch.build(ScratchParams.model_validate(values), record["image_size"])
        else:
            # ImageNet weights are not needed, because the weights file replaces them.
            params = TransferParams.model_validate(values | {"weights": "random"})
            model = transfer.build(params, record["image_size"])
        model.load_weights(folder / weights)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{folder}: {reason}; `dvc repro` trains it again") from None
    return model
