"""Train the network on an ImageNet backbone, head first, and export it.

The stage reads the blocks `train_transfer` and `augment` of params.yaml; it writes models/transfer.
A killed training continues from its last finished epoch. models/transfer.checkpoint keeps this
epoch until the end; models/transfer.second_seed.checkpoint does the same for the second seed.
"""

from pathlib import Path

from pneumonia.core.config import Params
from pneumonia.core.stage import run

NAME = "train_transfer"
DATA, AUDIT = Path("data/prepared"), Path("reports/visualize/leaks.json")
MODEL = Path("models/transfer")


def main(params: Params) -> None:
    """Write models/transfer: weights of both seeds, graph, history, metrics and record."""
    from pneumonia.models import transfer
    from pneumonia.models.training import run_training

    run_training(NAME, transfer, params.train_transfer, params.augment, DATA, AUDIT, MODEL)


if __name__ == "__main__":
    run(NAME, __doc__, main)
