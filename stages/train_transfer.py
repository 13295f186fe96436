"""Train the network on an ImageNet backbone, head first, and export it.

Reads the block `train_transfer` of params.yaml; writes models/transfer.
"""

from pathlib import Path

from pneumonia import tracking
from pneumonia.data.manifest import digest, require_audit
from pneumonia.models import training, transfer
from pneumonia.params import Params
from pneumonia.stage import replaced, run

DATA, AUDIT = Path("data/prepared"), Path("reports/visualize/leaks.json")
MODEL = Path("models/transfer")


def main(params: Params) -> None:
    """Write models/transfer: weights, graph, history, metrics, record."""
    block = params.train_transfer
    require_audit(DATA, AUDIT)
    train, val = training.load_films(DATA)
    training.be_deterministic(block.seed)
    model = transfer.build(block, train.images.shape[1])
    history: list[training.Epoch] = []
    with tracking.training_run("train_transfer", block.model_dump(), digest(DATA)) as log_epoch:
        on_epoch = training.recorder("transfer", history, log_epoch)
        transfer.fit_head(model, train, block)
        on_epoch({"epoch": 0, **training.validate(model, val)})
        if transfer.unfreeze(model, block.fine_tune_layers) and block.epochs:
            training.fit(model, train, val, block, block.epochs, on_epoch)
        with replaced(MODEL) as folder:
            training.save_model(model, history, block, DATA, folder)
        tracking.finish(MODEL)


if __name__ == "__main__":
    run("train_transfer", __doc__, main)
