"""Train the network from nothing and export it.

Reads the block `train_scratch` of params.yaml; writes models/scratch.
"""

from pathlib import Path

from pneumonia import tracking
from pneumonia.data.manifest import digest
from pneumonia.models import training
from pneumonia.params import Params
from pneumonia.stage import replaced, run

DATA = Path("data/prepared")


def main(params: Params) -> None:
    """Write models/scratch: weights, graph, history, metrics, record."""
    block = params.train_scratch
    train, val = training.load_films(DATA)
    training.be_deterministic(block.seed)
    from pneumonia.models import scratch

    model = scratch.build(block, train.images.shape[1])
    history: list[training.Epoch] = []
    with (
        tracking.training_run("train_scratch", block.model_dump(), digest(DATA)) as log_epoch,
        replaced(Path("models/scratch")) as folder,
    ):
        training.fit(
            model, train, val, block, block.epochs, training.recorder("scratch", history, log_epoch)
        )
        training.save_model(model, history, block, DATA, folder)
        tracking.finish(folder)


if __name__ == "__main__":
    run("train_scratch", __doc__, main)
