"""The training loop: what it trains towards, what it validates, and how it goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from pneumonia.core.config import ScratchParams
from pneumonia.models import loop, scratch
from pneumonia.models.batches import LabelledImages, TrainingData
from pneumonia.models.checkpoint import Checkpoint
from pneumonia.models.devices import make_deterministic
from pneumonia.models.export import LOGIT_OFFSET
from tests.models.test_training import AUGMENT, NOTHING, some_images, tiny_params

TRAIN, VAL = some_images(32, 0), some_images(8, 1)
DATA = TrainingData(TRAIN, VAL, AUGMENT)


class KilledError(Exception):
    """What ends a training in the middle."""


def built(params: ScratchParams) -> Any:
    make_deterministic(params.seed)
    return scratch.build(params, 32)


def fit(
    model: Any, params: ScratchParams, data: TrainingData = DATA,
    checkpoint: Checkpoint | None = None, kill_after: int = 0,
) -> list[loop.Epoch]:  # fmt: skip
    """Train a model; its history."""
    history: list[loop.Epoch] = []

    def on_epoch(row: loop.Epoch) -> None:
        if row["epoch"] == kill_after:
            raise KilledError

    groups = [loop.LayerGroup(model.layers)]
    loop.fit(model, groups, data, params, params.epochs, history, checkpoint, on_epoch)
    return history


def test_what_is_validated_is_the_model_that_is_handed_on() -> None:
    # Its statistics and averaged weights, not a batch's statistics or the last step's weights.
    params = tiny_params(epochs=2, learning_rate=0.01, ema_decay=0.9)
    model = built(params)
    last = fit(model, params)[-1]
    logits = model(VAL.images, training=False).numpy()[:, 0].astype(np.float64)
    assert last["val_loss"] == pytest.approx(log_loss(VAL.labels, 1 / (1 + np.exp(-logits))))
    assert last["val_auc"] == roc_auc_score(VAL.labels, logits)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_smoothed_labels_lie_between_the_classes(smoothing: float) -> None:
    labels = (np.arange(32) % 4 == 0).astype(np.float32)
    data = TrainingData(LabelledImages(TRAIN.images, labels), VAL, NOTHING)
    params = tiny_params(batch_size=32, label_smoothing=smoothing, balance="none")
    model = built(params)
    # Without evidence every image has one logit, so the labels alone decide the first step's loss.
    evidence = model.get_layer("evidence")
    evidence.set_weights([np.zeros_like(weight) for weight in evidence.get_weights()])
    [row] = fit(model, params, data)
    # The share of ill images, a quarter, on its way to a half.
    share = (1 - smoothing) * 0.25 + smoothing * 0.5
    assert row["loss"] == pytest.approx(np.logaddexp(0, LOGIT_OFFSET) - share * LOGIT_OFFSET)


def test_a_training_that_was_killed_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    params = tiny_params(epochs=2, learning_rate=0.01)
    whole = built(params)
    history = fit(whole, params)
    checkpoint = Checkpoint(tmp_path, "")
    with pytest.raises(KilledError):
        fit(built(params), params, checkpoint=checkpoint, kill_after=1)
    # The start of another process: weights of no meaning, replaced by those of the checkpoint.
    again = built(params.model_copy(update={"seed": params.seed + 1}))
    assert fit(again, params, checkpoint=checkpoint) == history
    for one, other in zip(again.get_weights(), whole.get_weights(), strict=True):
        assert np.array_equal(one, other)
