"""The files that go with a version of the registered model, for `serving.served` to read.

From a trained model to one version of the registered model, with its tags.
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


# Images that no collection has: those count their seeds from 0.
SAMPLES_SEED = 2**32 - 1
SAMPLES_PER_CLASS = 3


@dataclass(frozen=True)
class Candidate:
    """A trained and evaluated model.

    Attributes:
        source: "scratch" or "transfer".
        folder: of the trained model: weights, exported graph, record.
        graph_sha256: of the graph that was evaluated.
        point: its operating point.
        evaluation: the folder that `evaluate` wrote; its metrics with intervals and the statistics
            of the images go with the version.
        card: the folder with model_card.md and model_card.html.
    """

    source: str
    folder: Path
    graph_sha256: str
    point: OperatingPoint
    evaluation: Path | None = None
    card: Path | None = None

    @property
    def graph(self) -> Path:
        """The exported graph."""
        return self.folder / "graph.onnx"

    @property
    def plausibility(self) -> Path | None:
        """The file of `serving.plausibility`, by which the served model warns of other pictures."""
        file = self.evaluation / "plausibility.npz" if self.evaluation else None
        return file if file and file.exists() else None

    @property
    def training(self) -> dict[str, Any]:
        """What the training wrote of itself."""
        return files.read_record(self.folder)


def write_artifacts(candidate: Candidate, folder: Path) -> dict[str, str]:
    """Gather the files of a version, new ones in `folder`: name of the artifact to path."""
    point = folder / "operating_point.json"
    OperatingPoints(candidate.source, {candidate.source: candidate.point}).write(point)
    record = folder / "record.json"
    _write_json(record, _record(candidate))
    samples = folder / "samples"
    samples.mkdir()
    for name, payload in _samples().items():
        (samples / name).write_bytes(payload)
    found = {
        "graph": candidate.graph,
        "operating_point": point,
        "record": record,
        "samples": samples,
    }
    if candidate.card:
        found["model_card"] = candidate.card / "model_card.md"
        found["model_page"] = candidate.card / "model_card.html"
    if candidate.plausibility:
        found["plausibility"] = candidate.plausibility
    return {name: str(path) for name, path in found.items() if path.exists()}


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
    """Value and interval by split and metric; {} without a report."""
    if candidate.evaluation is None:
        return {}
    table = pd.read_csv(candidate.evaluation / "intervals.csv", float_precision="round_trip")
    found: dict[str, dict[str, dict[str, float | None]]] = {}
    for row in table[table["model"] == candidate.source].to_dict("records"):
        # JSON has no NaN.
        known = {
            name: None if math.isnan(row[name]) else row[name] for name in ("value", "low", "high")
        }
        found.setdefault(row["split"], {})[row["metric"]] = known
    return found


@cache
def _samples() -> dict[str, bytes]:
    """Drawn images of both classes, PNG, by the name of their file: CLASS-NUMBER.png."""
    found: dict[str, bytes] = {}
    counts = dict.fromkeys(LABELS, 0)
    index = 0
    while min(counts.values()) < SAMPLES_PER_CLASS:
        patient = phantom.patient_of(index)
        label = LABELS[int(phantom.diagnosis_of(SAMPLES_SEED, patient).subtype != "normal")]
        # One image a patient.
        if counts[label] < SAMPLES_PER_CLASS and phantom.patient_of(index - 1) != patient:
            counts[label] += 1
            image = phantom.draw(SAMPLES_SEED, index)
            found[f"{label.lower()}-{counts[label]}.png"] = encode_png(image.pixels)
        index += 1
    return found


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


FINGERPRINT = "fingerprint"
# What the served model imports, pinned to what the pipeline ran with.
REQUIREMENTS = (
    "mlflow-skinny",
    "fastapi",
    "uvicorn",
    "httptools",
    "imagecodecs",
    "numpy",
    "onnxruntime",
    "pandas",
    "pillow",
    "prometheus-client",
    "pydicom",
    "python-multipart",
    "pyyaml",
)
# Of the run's metrics, those that a version carries as tags.
KEY_METRICS = (
    "val_auc",
    "val_brier",
    "val_sensitivity",
    "val_specificity",
    "val_shift_mean_auc",
    "test_auc",
    "test_brier",
    "test_sensitivity",
    "test_specificity",
)


def register(name: str, candidate: Candidate) -> str:
    """Register a candidate under `name` from within its open run.

    The same graph with the same operating point, statistics of images and data, served by the same
    code and libraries, is registered once. A version gets all its tags in the call that makes it,
    so that none is without; they say nothing of where or when, and a repetition leaves them as they
    are. Of two versions that two processes made at once, the one with the lower number stays; both
    processes see that one, because the store gives out numbers in order. Files that were logged
    without a version, by a process that died, are registered and not logged anew. A version whose
    graph was damaged in the store is deleted, with its files, and registered anew.

    Returns:
        the version.
    """
    import mlflow

    client = mlflow.MlflowClient()
    contents = [candidate.graph_sha256, _code_sha256(), *_requirements()]
    contents += [json.dumps(asdict(candidate.point)), candidate.training["data_digest"]]
    statistics = candidate.plausibility
    if statistics:
        contents.append(hashlib.sha256(statistics.read_bytes()).hexdigest())
    fingerprint = hashlib.sha256("\0".join(contents).encode()).hexdigest()
    for known in _same(client, name, fingerprint):
        _delete_if_damaged(client, name, known, candidate.graph_sha256)
    if not _same(client, name, fingerprint):
        logged = _logged_model(fingerprint) or _log_model(candidate, fingerprint)
        tags = {FINGERPRINT: fingerprint} | _tags(candidate)
        mlflow.register_model(f"models:/{logged}", name, tags=tags)
    first, *later = _same(client, name, fingerprint)
    if later:
        aliased = {str(one) for one in client.get_registered_model(name).aliases.values()}
        for needless in set(later) - aliased:
            _delete(client, name, needless)
    return first


def _same(client: MlflowClient, name: str, fingerprint: str) -> list[str]:
    found = client.search_model_versions(
        f"name = '{name}' and tags.{FINGERPRINT} = '{fingerprint}'"
    )
    return sorted((str(one.version) for one in found), key=int)


def _delete_if_damaged(client: MlflowClient, name: str, known: str, sha256: str) -> None:
    import mlflow

    with TemporaryDirectory() as folder:
        file = f"models:/{name}/{known}/artifacts/graph.onnx"
        fetched = mlflow.artifacts.download_artifacts(file, dst_path=folder)
        if files.sha256(Path(fetched)) == sha256:
            return
    print(f"{name} version {known}: its graph is damaged in the store; it is registered anew")
    # "models:/m-..."; were it left, `_logged_model` would find it.
    source = client.get_model_version(name, known).source
    _delete(client, name, known)
    client.delete_logged_model(source.rpartition("/")[2])


def _delete(client: MlflowClient, name: str, needless: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.delete_model_version(name, needless)
    except MlflowException as error:
        # The other process did it.
        if not is_missing(error):
            raise


def _tags(candidate: Candidate) -> dict[str, str]:
    """What a version says of where it comes from."""
    import mlflow

    record = candidate.training
    run = mlflow.active_run()
    assert run is not None
    metrics = mlflow.MlflowClient().get_run(run.info.run_id).data.metrics
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
    return [f"{needed}=={version(needed)}" for needed in REQUIREMENTS]


def _code_sha256() -> str:
    """SHA-256 of the package that goes with the model, names and contents."""
    package = Path(pneumonia.__file__).parent
    hashed = hashlib.sha256()
    files = (file for file in package.rglob("*") if file.is_file() and file.suffix != ".pyc")
    for file in sorted(files):
        hashed.update(f"{file.relative_to(package)}\0".encode() + file.read_bytes() + b"\0")
    return hashed.hexdigest()


def _logged_model(fingerprint: str) -> str | None:
    """The id of a model with these files that is in the store, whole."""
    import mlflow

    run = mlflow.active_run()
    assert run is not None
    found = mlflow.search_logged_models(
        experiment_ids=[run.info.experiment_id],
        filter_string=f"tags.{FINGERPRINT} = '{fingerprint}'",
        output_format="list",
    )
    # Not in the filter: databases hold it as a number, so MLflow 3.17 finds none on SQLite and
    # fails on PostgreSQL.
    return next((str(one.model_id) for one in found if one.status == "READY"), None)


def _log_model(candidate: Candidate, fingerprint: str) -> str:
    """Log the files of the model to the open run; the id that MLflow gives them."""
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types.schema import Array, ColSpec, DataType, Object, Property, Schema

    package = Path(pneumonia.__file__).parent
    doubt = Object([Property("code", DataType.string), Property("message", DataType.string)])
    outputs = {
        "label": DataType.string,
        "probability": DataType.double,
        "threshold": DataType.double,
        "heat_map_png": DataType.string,
        "heat_map": Array(Array(DataType.double)),
        "warnings": Array(doubt),
        "model": DataType.string,
        "version": DataType.string,
        "error": DataType.string,
        "notice": DataType.string,
    }
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        # The signature is given below; hints on `predict` would be a second one.
        warnings.filterwarnings("ignore", message="(?s).*type hint")
        artifacts = write_artifacts(candidate, Path(folder))
        info = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(package / "inference" / "pyfunc.py"),
            code_paths=[str(package)],
            artifacts=artifacts,
            signature=ModelSignature(
                inputs=Schema([ColSpec(DataType.binary, "image")]),
                outputs=Schema([ColSpec(kind, column) for column, kind in outputs.items()]),
            ),
            input_example=pd.DataFrame({"image": [encode_png(np.zeros((64, 64), np.uint8))]}),
            pip_requirements=_requirements(),
            tags={FINGERPRINT: fingerprint},
        )
    return str(info.model_id)
