"""A training from images to files, and the same once more with another seed.

The second network is not evaluated or served. Its maps show what chance decides in those of the
first one (stage `gradcam_report`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pneumonia.core.config import ScratchParams, TransferParams
from pneumonia.core.files import replaced
from pneumonia.core.stage import sources
from pneumonia.datasets.manifest import read_manifest, require_audit
from pneumonia.models import devices
from pneumonia.models.batches import LabelledImages, load_training_images
from pneumonia.models.checkpoint import Checkpoint, begin, fingerprint
from pneumonia.models.loop import Epoch, OnEpoch, recorder
from pneumonia.models.saving import save_model
from pneumonia.tracking import runs

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


Params = TypeVar("Params", ScratchParams, TransferParams)
Build = Callable[[Params, int], "keras.Model"]
Train = Callable[
    [
        "keras.Model",
        tuple[LabelledImages, LabelledImages],
        Params,
        list[Epoch],
        Checkpoint | None,
        OnEpoch,
    ],
    None,
]


def train_twice(
    stage: str, params: Params, build: Build[Params], train: Train[Params],
    data: Path, audit: Path, folder: Path,
) -> None:  # fmt: skip
    """Train, log the run to MLflow, write the files of `saving.save_model`.

    Each training has a checkpoint beside `folder` and goes on from it when killed. With several
    hosts (`models.hosts`) the chief does all this, and the others help it to train.

    Args:
        stage: names the run, and in dvc.yaml the code that decides what is computed.
        params: its block.
        build, train: those of `scratch` or `transfer`.
        data, audit: the prepared images, and `visualize`'s word that no split leaks.
        folder: of the model; its former content stays until the end.

    Raises:
        InputError: the audit is not of these images, another process trains this model, or another
            host trains something else.
        SystemExit: with `hosts.LOST`, where another host is lost.
    """
    digest = require_audit(data, audit)
    with devices.together(stage) as here:
        devices.be_deterministic(params.seed, params.precision)
        if here.several and here.chief:
            print(f"{folder.name}: waiting for {len(here.addresses) - 1} more hosts", flush=True)
        strategy = devices.strategy()
        known = params.model_dump() | {"data": digest, "replicas": strategy.num_replicas_in_sync}
        devices.agree(strategy, fingerprint(known, sources(stage)))
        if here.chief:
            _lead(strategy, stage, params, build, train, data, digest, folder, known)
        else:
            _help(strategy, params, build, train, data)


def _lead(
    strategy: tf.distribute.Strategy, stage: str, params: Params,
    build: Build[Params], train: Train[Params],
    data: Path, digest: str, folder: Path, known: dict[str, Any],
) -> None:  # fmt: skip
    second = second_seed(params)
    settings = params.model_dump()
    apart = folder.with_name(f"{folder.name}.second_seed")
    with begin(folder, params.epochs, known, sources(stage)) as (checkpoint, history):
        images = load_training_images(data)
        size = images[0].images.shape[1]
        with strategy.scope():
            model = build(params, size)
        with runs.training_run(
            stage, settings, digest, size, read_manifest(data), checkpoint.key, history,
            folder=folder,
        ) as log_epoch:  # fmt: skip
            on_epoch = recorder(folder.name, log_epoch)
            train(model, images, params, history, checkpoint, on_epoch)
            with begin(apart, second.epochs, known, sources(stage)) as (checkpoint_, epochs):
                devices.be_deterministic(second.seed, second.precision)
                with strategy.scope():
                    other = build(second, size)
                say = recorder(f"{folder.name} second seed")
                train(other, images, second, epochs, checkpoint_, say)
                with replaced(folder) as writing:
                    save_model(model, (other, epochs), history, params, digest, writing)
                runs.finish(folder)
                # With the checkpoints still there: a host that is lost now costs no epoch either.
                devices.wait(strategy)


def _help(
    strategy: tf.distribute.Strategy, params: Params,
    build: Build[Params], train: Train[Params], data: Path,
) -> None:  # fmt: skip
    """Take part in both trainings, and write nothing."""
    images = load_training_images(data)
    for block in (params, second_seed(params)):
        devices.be_deterministic(block.seed, block.precision)
        with strategy.scope():
            model = build(block, images[0].images.shape[1])
        train(model, images, block, [], None, lambda _: None)
    devices.wait(strategy)


def second_seed(params: Params) -> Params:
    """The block of a second training, no longer and with another seed."""
    epochs = min(params.epochs, params.second_seed_epochs)
    return params.model_copy(update={"seed": params.seed + 1, "epochs": epochs})
