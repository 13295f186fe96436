"""A trained network from its files, for what the exported graph cannot answer: gradients."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pneumonia import intact
from pneumonia.errors import InputError
from pneumonia.models import scratch, transfer
from pneumonia.params import ScratchParams, TransferParams

if TYPE_CHECKING:
    import keras


def load(folder: Path, weights: str = "weights.weights.h5") -> keras.Model:
    """Build the network that `training.json` in `folder` describes, with weights from there.

    Raises:
        InputError: files that are not there, or do not belong together.
    """
    import keras

    # Layers without a name of their own get those of a fresh process, however many were built.
    keras.utils.clear_session(free_memory=False)
    record = intact.record(folder)
    try:
        intact.read(folder / weights)
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
