"""Register a trained and evaluated model as a new version in MLflow, with files and tags.

`inference.bundle` reads these files later.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import warnings
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

import pneumonia
from pneumonia.core import files
from pneumonia.datasets import phantom
from pneumonia.images.decoding import encode_png
from pneumonia.inference.operating_point import OperatingPoint, OperatingPoints
from pneumonia.inference.predictor import LABELS
from pneumonia.registry.champion import is_missing
from pneumonia.tracking import runs

if TYPE_CHECKING:
    from mlflow import MlflowClient


FINGERPRINT = "fingerprint"
PACKAGE = Path(pneumonia.__file__).parent
# Libraries that the served model imports, in the same versions as in the pipeline.
REQUIREMENTS = (
    "mlflow-skinny", "fastapi", "uvicorn", "httptools", "imagecodecs", "numpy", "onnxruntime",
    "pandas", "pillow", "prometheus-client", "pydicom", "python-multipart", "pyyaml",
)  # fmt: skip
# Metrics of the run that become tags of the version.
KEY_METRICS = (
    "val_auc", "val_brier", "val_sensitivity", "val_specificity", "val_shift_mean_auc",
    "test_auc", "test_brier", "test_sensitivity", "test_specificity",
)  # fmt: skip
# Seed of the served model's sample images. The drawn data sets have other seeds, from 0 upwards.
SAMPLES_SEED = 2**32 - 1
SAMPLES_PER_CLASS = 3


@dataclass(frozen=True)
class Candidate:
    """A trained and evaluated model."""

    source: str  #: "scratch" or "transfer"
    folder: Path  #: folder of the trained model: weights, exported graph, record
    graph_sha256: str  #: hash of the graph that was evaluated
    point: OperatingPoint  #: the model's operating point
    #: the folder that `evaluate` wrote; the version gets the metrics with intervals and the
    #: statistics of the images.
    evaluation: Path
    card: Path  #: the folder with model_card.md and model_card.html

    @property
    def graph(self) -> Path:
        """The file of the exported graph."""
        return self.folder / "graph.onnx"

    @property
    def plausibility(self) -> Path:
        """The statistics by which the served model warns of unusual images."""
        return self.evaluation / "plausibility.npz"

    @property
    def training(self) -> dict[str, Any]:
        """The record that the training wrote."""
        return files.read_record(self.folder)


def register(name: str, candidate: Candidate) -> str:
    """Register a candidate under `name`, and return the version. The candidate's run must be open.

    A model is registered once. Its fingerprint is a hash of graph, operating point, image
    statistics, data, serving code and libraries. The call that creates a version also sets all its
    tags, so no version lacks tags. The tags do not depend on time or place, so another registration
    does not change them.

    If two processes create the same version at once, the lower number stays; both processes see
    both numbers. If a killed process logged files without a version, the files are registered and
    not logged again. If the graph of a version is damaged in the store, the version and its files
    are deleted, and the model is registered again.
    """
    import mlflow

    client = mlflow.MlflowClient()
    contents = [candidate.graph_sha256, _code_sha256(), *_requirements()]
    contents += [json.dumps(asdict(candidate.point)), candidate.training["data_digest"]]
    if candidate.plausibility.exists():
        contents.append(files.sha256(candidate.plausibility))
    fingerprint = hashlib.sha256("\0".join(contents).encode()).hexdigest()
    for known in _same_versions(client, name, fingerprint):
        _delete_if_damaged(client, name, known, candidate.graph_sha256)
    if not _same_versions(client, name, fingerprint):
        logged = _find_logged_model(fingerprint) or _log_model(candidate, fingerprint)
        tags = {FINGERPRINT: fingerprint} | _tags(candidate)
        mlflow.register_model(f"models:/{logged}", name, tags=tags)
    first, *later = _same_versions(client, name, fingerprint)
    if later:
        with_alias = {str(one) for one in client.get_registered_model(name).aliases.values()}
        for duplicate in set(later) - with_alias:
            _delete(client, name, duplicate)
    return first


def write_artifacts(candidate: Candidate, folder: Path) -> dict[str, str]:
    """Write a version's new files to `folder`; return the paths of all its files by artifact."""
    points = OperatingPoints(candidate.source, {candidate.source: candidate.point})
    points.write(folder / "operating_point.json")
    files.write_json(folder / "record.json", _record(candidate))
    (folder / "samples").mkdir()
    for name, payload in _samples().items():
        (folder / "samples" / name).write_bytes(payload)
    paths = {
        "graph": candidate.graph,
        "operating_point": folder / "operating_point.json",
        "record": folder / "record.json",
        "samples": folder / "samples",
        "model_card": candidate.card / "model_card.md",
        "model_page": candidate.card / "model_card.html",
        "plausibility": candidate.plausibility,
    }
    return {name: str(path) for name, path in paths.items() if path.exists()}


def _record(candidate: Candidate) -> dict[str, Any]:
    training = candidate.training
    return {
        "hashes": {
            "graph_sha256": candidate.graph_sha256,
            "weights_sha256": runs.weights_sha256(candidate.folder),
        },
        "data": {"digest": training["data_digest"], "image_size": training["image_size"]},
        "training": {"params": training["params"], "git_commit": runs.git_commit()},
        "metrics": _metrics(candidate),
    }


def _metrics(candidate: Candidate) -> dict[str, dict[str, dict[str, float | None]]]:
    """Return the value and the interval of each metric, by split and metric."""
    table = pd.read_csv(candidate.evaluation / "intervals.csv", float_precision="round_trip")
    metrics: dict[str, dict[str, dict[str, float | None]]] = {}
    for row in table[table["model"] == candidate.source].to_dict("records"):
        # JSON has no NaN, so NaN becomes None.
        metrics.setdefault(row["split"], {})[row["metric"]] = {
            key: None if math.isnan(row[key]) else row[key] for key in ("value", "low", "high")
        }
    return metrics


@cache
def _samples() -> dict[str, bytes]:
    """Draw images of both classes; return PNG files by file name, CLASS-NUMBER.png."""
    samples: dict[str, bytes] = {}
    counts = dict.fromkeys(LABELS, 0)
    index = 0
    while min(counts.values()) < SAMPLES_PER_CLASS:
        patient = phantom.patient_of(index)
        label = LABELS[int(phantom.diagnosis_of(SAMPLES_SEED, patient).subtype != "normal")]
        # Use one image per patient.
        if counts[label] < SAMPLES_PER_CLASS and phantom.patient_of(index - 1) != patient:
            counts[label] += 1
            image = phantom.draw(SAMPLES_SEED, index)
            samples[f"{label.lower()}-{counts[label]}.png"] = encode_png(image.pixels)
        index += 1
    return samples


def _same_versions(client: MlflowClient, name: str, fingerprint: str) -> list[str]:
    registered = client.search_model_versions(
        f"name = '{name}' and tags.{FINGERPRINT} = '{fingerprint}'"
    )
    return sorted((str(version.version) for version in registered), key=int)


def _delete_if_damaged(client: MlflowClient, name: str, known: str, sha256: str) -> None:
    import mlflow

    with TemporaryDirectory() as folder:
        file = f"models:/{name}/{known}/artifacts/graph.onnx"
        fetched = mlflow.artifacts.download_artifacts(file, dst_path=folder)
        if files.sha256(Path(fetched)) == sha256:
            return
    print(f"{name} version {known}: its graph is damaged in the store; it is registered again")
    # Delete the files ("models:/m-...") too; otherwise `_find_logged_model` would find them.
    source = client.get_model_version(name, known).source
    _delete(client, name, known)
    client.delete_logged_model(source.rpartition("/")[2])


def _delete(client: MlflowClient, name: str, version: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.delete_model_version(name, version)
    except MlflowException as error:
        # Another process may have deleted the version.
        if not is_missing(error):
            raise


def _tags(candidate: Candidate) -> dict[str, str]:
    """Make the tags of a version: its origin and its main metrics."""
    import mlflow

    record = candidate.training
    metrics = mlflow.get_run(runs.active_run().info.run_id).data.metrics
    tags = {
        "model": candidate.source,
        "weights_sha256": runs.weights_sha256(candidate.folder),
        "graph_sha256": candidate.graph_sha256,
        "data_digest": record["data_digest"],
        "params": json.dumps(record["params"], sort_keys=True),
        "operating_point": json.dumps(asdict(candidate.point), sort_keys=True),
        "git.commit": runs.git_commit(),
        "dvc.exp_name": os.environ.get("DVC_EXP_NAME", ""),
        "dvc.exp_baseline_rev": os.environ.get("DVC_EXP_BASELINE_REV", ""),
    }
    tags |= {name: str(metrics[name]) for name in KEY_METRICS if name in metrics}
    return {key: value for key, value in tags.items() if value}


def _requirements() -> list[str]:
    return [f"{library}=={version(library)}" for library in REQUIREMENTS]


def _code_sha256() -> str:
    """Hash the files (names and contents) of the package that is stored with the model."""
    hashed = hashlib.sha256()
    sources = (file for file in PACKAGE.rglob("*") if file.is_file() and file.suffix != ".pyc")
    for file in sorted(sources):
        hashed.update(f"{file.relative_to(PACKAGE)}\0".encode() + file.read_bytes() + b"\0")
    return hashed.hexdigest()


def _find_logged_model(fingerprint: str) -> str | None:
    """Find a completely logged model with these files; return its id, or None."""
    import mlflow

    models = mlflow.search_logged_models(
        experiment_ids=[runs.active_run().info.experiment_id],
        filter_string=f"tags.{FINGERPRINT} = '{fingerprint}'",
        output_format="list",
    )
    # The filter cannot contain the status. Databases store the status as a number, so MLflow 3.17
    # finds nothing on SQLite and fails on PostgreSQL.
    return next((str(model.model_id) for model in models if model.status == "READY"), None)


def _log_model(candidate: Candidate, fingerprint: str) -> str:
    """Log the model's files to the open run; return the id that MLflow gives the logged model."""
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types.schema import Array, ColSpec, DataType, Object, Property, Schema

    warning = Object([Property("code", DataType.string), Property("message", DataType.string)])
    outputs = {
        "label": DataType.string,
        "probability": DataType.double,
        "threshold": DataType.double,
        "heat_map_png": DataType.string,
        "heat_map": Array(Array(DataType.double)),
        "warnings": Array(warning),
        "model": DataType.string,
        "version": DataType.string,
        "error": DataType.string,
        "notice": DataType.string,
    }
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        # MLflow warns that `predict` has no type hints, but hints would be a second signature.
        warnings.filterwarnings("ignore", message="(?s).*type hint")
        info = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(PACKAGE / "inference" / "pyfunc.py"),
            code_paths=[str(PACKAGE)],
            artifacts=write_artifacts(candidate, Path(folder)),
            signature=ModelSignature(
                inputs=Schema([ColSpec(DataType.binary, "image")]),
                outputs=Schema([ColSpec(kind, column) for column, kind in outputs.items()]),
            ),
            input_example=pd.DataFrame({"image": [encode_png(np.zeros((64, 64), np.uint8))]}),
            pip_requirements=_requirements(),
            tags={FINGERPRINT: fingerprint},
        )
    return str(info.model_id)
