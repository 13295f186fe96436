"""Train the network from nothing and export it.

Reads the block `train_scratch` of params.yaml; writes models/scratch.
"""

from pathlib import Path

from pneumonia import tracking
from pneumonia.data.manifest import digest, require_audit
from pneumonia.models import training
from pneumonia.params import Params
from pneumonia.stage import replaced, run

DATA, AUDIT = Path("data/prepared"), Path("reports/visualize/leaks.json")
MODEL = Path("models/scratch")


def main(params: Params) -> None:
    """Write models/scratch: weights, graph, history, metrics, record."""
    block = params.train_scratch
    require_audit(DATA, AUDIT)
    train, val = training.load_films(DATA)
    training.be_deterministic(block.seed)
    from pneumonia.models import scratch

    model = scratch.build(block, train.images.shape[1])
    history: list[training.Epoch] = []
    with tracking.training_run("train_scratch", block.model_dump(), digest(DATA)) as log_epoch:
        on_epoch = training.recorder("scratch", history, log_epoch)
        training.fit(model, train, val, block, block.epochs, on_epoch)
        with replaced(MODEL) as folder:
            training.save_model(model, history, block, DATA, folder)
        tracking.finish(MODEL)


if __name__ == "__main__":
    run("train_scratch", __doc__, main)
