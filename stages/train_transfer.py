"""Train the network on an ImageNet backbone, head first, and export it.

Reads the block `train_transfer` of params.yaml; writes models/transfer. Killed and started
again, it goes on from its last finished epoch, which models/transfer.checkpoint keeps until the
end; models/transfer.second_seed.checkpoint does so for the second seed.
"""

from pathlib import Path

from pneumonia.data.manifest import read_manifest, require_audit
from pneumonia.models import devices, training, transfer
from pneumonia.models.batches import load_films
from pneumonia.models.checkpoint import begin
from pneumonia.models.saving import save_model
from pneumonia.params import Params
from pneumonia.stage import replaced, run, sources
from pneumonia.tracking import runs

NAME = "train_transfer"
DATA, AUDIT = Path("data/prepared"), Path("reports/visualize/leaks.json")
MODEL, SECOND = Path("models/transfer"), Path("models/transfer.second_seed")


def main(params: Params) -> None:
    """Write models/transfer: weights, also of a second seed, graph, history, metrics, record."""
    block = params.train_transfer
    second = training.second_seed(block)
    digest = require_audit(DATA, AUDIT)
    devices.be_deterministic(block.seed, block.precision)
    strategy = devices.strategy()
    settings = block.model_dump()
    known = settings | {"data": digest, "replicas": strategy.num_replicas_in_sync}
    with begin(MODEL, block.epochs, known, sources(NAME)) as (checkpoint, history):
        films = load_films(DATA)
        size = films[0].images.shape[1]
        with strategy.scope():
            model = transfer.build(block, size)
        with runs.training_run(
            NAME, settings, digest, size, read_manifest(DATA), checkpoint.key, history
        ) as log_epoch:
            on_epoch = training.recorder("transfer", log_epoch)
            transfer.train(model, films, block, history, checkpoint, on_epoch)
            with begin(SECOND, second.epochs, known, sources(NAME)) as (apart, epochs):
                devices.be_deterministic(second.seed, second.precision)
                with strategy.scope():
                    other = transfer.build(second, size)
                say = training.recorder("transfer second seed")
                transfer.train(other, films, second, epochs, apart, say)
                with replaced(MODEL) as folder:
                    save_model(model, (other, epochs), history, block, digest, folder)
                runs.finish(MODEL)


if __name__ == "__main__":
    run(NAME, __doc__, main)
