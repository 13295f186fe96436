"""Train the network from nothing and export it.

Reads the block `train_scratch` of params.yaml; writes models/scratch. Killed and started
again, it goes on from its last finished epoch, which models/scratch.checkpoint keeps until the
end; models/scratch.second_seed.checkpoint does so for the second seed.
"""

from pathlib import Path

from pneumonia.core.config import Params
from pneumonia.core.stage import run

NAME = "train_scratch"
DATA, AUDIT = Path("data/prepared"), Path("reports/visualize/leaks.json")
MODEL = Path("models/scratch")


def main(params: Params) -> None:
    """Write models/scratch: weights, also of a second seed, graph, history, metrics, record."""
    from pneumonia.models import scratch
    from pneumonia.models.training import train_twice

    train_twice(NAME, params.train_scratch, scratch.build, scratch.train, DATA, AUDIT, MODEL)


if __name__ == "__main__":
    run(NAME, __doc__, main)
