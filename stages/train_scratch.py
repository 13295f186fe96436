"""Train the network from random weights and export it.

The stage reads the blocks `train_scratch` and `augment` of params.yaml, and writes models/scratch.
A killed training continues from its last finished epoch. models/scratch.checkpoint keeps this epoch
until the training ends; models/scratch.second_seed.checkpoint does the same for the second seed.
"""

from pathlib import Path

from pneumonia.core.config import Params
from pneumonia.core.stage import run

NAME = "train_scratch"
DATA, AUDIT = Path("data/prepared"), Path("reports/visualize/leaks.json")
MODEL = Path("models/scratch")


def main(params: Params) -> None:
    """Write models/scratch: weights of both seeds, graph, history, metrics and record."""
    from pneumonia.models import scratch
    from pneumonia.models.training import run_training

    run_training(NAME, scratch, params.train_scratch, params.augment, DATA, AUDIT, MODEL)


if __name__ == "__main__":
    run(NAME, __doc__, main)
