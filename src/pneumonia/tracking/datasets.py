"""The prepared images as MLflow data sets: one a split, named by the digest of all of them."""

from __future__ import annotations

import warnings

import pandas as pd

from pneumonia.data.manifest import NAME
from pneumonia.tracking.contention import write

# By split, MLflow's word for what it is used for.
CONTEXTS = {"train": "training", "val": "validation", "test": "testing"}
# MLflow takes 36 characters of a digest; the runs' param `data_digest` has as many as this.
DIGEST = 16


def log_data(table: pd.DataFrame, data_digest: str, splits: tuple[str, ...]) -> None:
    """Add splits of a manifest to the inputs of the open run; those that it has already stay.

    The store gets names and types of the columns and the number of rows, no row.

    Args:
        table: the whole manifest.
        data_digest: of the prepared folder.
        splits: of `CONTEXTS`.
    """
    import mlflow
    from mlflow.data.pandas_dataset import PandasDataset
    from mlflow.data.sources import LocalArtifactDatasetSource

    # Relative to the repository: where that lies on this machine is nobody's business.
    source = LocalArtifactDatasetSource(f"data/prepared/{NAME}")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="(?s).*integer column")
        for split in splits:
            images = table[table["split"] == split]
            name, digest = f"images_{split}", data_digest[:DIGEST]
            data = PandasDataset(images, source, targets="label", name=name, digest=digest)
            write(mlflow.log_input, data, CONTEXTS[split])
