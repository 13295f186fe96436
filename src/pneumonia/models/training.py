"""Run a training stage, from images to files, and the same training with a second seed.

The second network is not evaluated or served. Its maps differ from the maps of the first network
only by chance, so the differences show how large chance is (stage `gradcam_report`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pneumonia.core.config import AugmentParams, ScratchParams, TrainingParams, TransferParams
from pneumonia.core.files import replaced
from pneumonia.core.stage import sources
from pneumonia.datasets.manifest import read_manifest, require_audit
from pneumonia.models import devices
from pneumonia.models.batches import TrainingData, load_training_data
from pneumonia.models.checkpoint import Checkpoint, fingerprint, open_checkpoint
from pneumonia.models.loop import Epoch, OnEpoch, recorder
from pneumonia.models.saving import save_model
from pneumonia.tracking import runs

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


Params = TypeVar("Params", ScratchParams, TransferParams)


class Network(Protocol):
    """A kind of network: the functions that the modules `scratch` and `transfer` both have."""

    def build(self, params: Any, size: int) -> keras.Model:
        """Build the untrained network."""

    def train(
        self, model: keras.Model, data: TrainingData, params: Any, history: list[Epoch],
        checkpoint: Checkpoint | None, on_epoch: OnEpoch,
    ) -> None:  # fmt: skip
        """Train the network; the arguments are the same as in `loop.fit`."""


def run_training(
    stage: str, network: Network, params: Params, augment: AugmentParams,
    prepared: Path, audit: Path, folder: Path,
) -> None:  # fmt: skip
    """Train with both seeds, log the run to MLflow, and write the files of `saving.save_model`.

    Each training has a checkpoint beside `folder`, and continues from it after it was killed. With
    several hosts (`models.devices`) the chief does all this; the other hosts only help to train.

    Args:
        stage: the name of the run, and of the stage in dvc.yaml, which lists the code files.
        network: the module `scratch` or `transfer`.
        augment: the params of the augmentation of training images.
        audit: the file in which `visualize` confirms that no split leaks into another.
        folder: the model's folder; its previous content is replaced at the end.

    Raises:
        InputError: the audit is about other images, another process trains this model, or another
            host trains something else.
        SystemExit: another host is lost; the status is `devices.HOST_LOST`.
    """
    digest = require_audit(prepared, audit)
    with devices.exit_if_host_lost(stage) as host:
        devices.make_deterministic(params.seed, params.precision)
        if host.is_distributed and host.is_chief:
            print(f"{folder.name}: waiting for {len(host.addresses) - 1} more hosts", flush=True)
        strategy = devices.strategy()
        identity = with_augment(params, augment) | {
            "data": digest, "replicas": strategy.num_replicas_in_sync
        }  # fmt: skip
        devices.check_same_training(strategy, fingerprint(identity, sources(stage)))
        data = load_training_data(prepared, augment)
        if host.is_chief:
            _lead(strategy, stage, network, params, data, digest, prepared, folder, identity)
        else:
            _help(strategy, network, params, data)


def _lead(
    strategy: tf.distribute.Strategy, stage: str, network: Network, params: Params,
    data: TrainingData, digest: str, prepared: Path, folder: Path, identity: dict[str, Any],
) -> None:  # fmt: skip
    """Train with both seeds, and write all files."""
    second = second_seed(params)
    beside = folder.with_name(f"{folder.name}.second_seed")
    with open_checkpoint(folder, params.epochs, identity, sources(stage)) as (checkpoint, history):
        with strategy.scope():
            model = network.build(params, data.size)
        with runs.training_run(
            stage, with_augment(params, data.augment), digest, data.size, read_manifest(prepared),
            checkpoint.key, history, folder=folder,
        ) as log_epoch:  # fmt: skip
            on_epoch = recorder(folder.name, log_epoch)
            network.train(model, data, params, history, checkpoint, on_epoch)
            with open_checkpoint(beside, second.epochs, identity, sources(stage)) as second_saved:
                second_checkpoint, second_history = second_saved
                devices.make_deterministic(second.seed, second.precision)
                with strategy.scope():
                    second_model = network.build(second, data.size)
                on_epoch = recorder(f"{folder.name} second seed")
                network.train(
                    second_model, data, second, second_history, second_checkpoint, on_epoch
                )
                with replaced(folder) as writing:
                    save_model(
                        model, (second_model, second_history), history,
                        with_augment(params, data.augment), digest, writing,
                    )  # fmt: skip
                runs.finish(folder)
                # The checkpoints still exist, so a host that is lost now costs no epoch either.
                devices.wait_for_all(strategy)


def _help(
    strategy: tf.distribute.Strategy, network: Network, params: Params, data: TrainingData
) -> None:
    """Take part in both trainings, and write no files."""
    for block in (params, second_seed(params)):
        devices.make_deterministic(block.seed, block.precision)
        with strategy.scope():
            model = network.build(block, data.size)
        network.train(model, data, block, [], None, lambda _: None)
    devices.wait_for_all(strategy)


def with_augment(params: TrainingParams, augment: AugmentParams) -> dict[str, Any]:
    """All params of a training: the params of its block, and `augment`."""
    return params.model_dump() | {"augment": augment.model_dump()}


def second_seed(params: Params) -> Params:
    """The params of the second training: another seed, and at most `second_seed_epochs`."""
    epochs = min(params.epochs, params.second_seed_epochs)
    return params.model_copy(update={"seed": params.seed + 1, "epochs": epochs})
