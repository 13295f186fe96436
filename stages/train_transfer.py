"""Train the network on an ImageNet backbone, head first, and export it.

Reads the block `train_transfer` of params.yaml; writes models/transfer. Killed and started
again, it goes on from its last finished epoch, which models/transfer.checkpoint keeps until the
end; models/transfer.second_seed.checkpoint does so for the second seed.
"""

from pathlib import Path

from pneumonia.core.config import Params
from pneumonia.core.stage import run

NAME = "train_transfer"
DATA, AUDIT = Path("data/prepared"), Path("reports/visualize/leaks.json")
MODEL = Path("models/transfer")


def main(params: Params) -> None:
    """Write models/transfer: weights, also of a second seed, graph, history, metrics, record."""
    from pneumonia.models import transfer
    from pneumonia.models.training import train_twice

    train_twice(NAME, params.train_transfer, transfer.build, transfer.train, DATA, AUDIT, MODEL)


if __name__ == "__main__":
    run(NAME, __doc__, main)
