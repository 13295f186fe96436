"""Load a model from the registry, from a folder, or from a training's output.

`load_model("models:/pneumonia-chest-xray@champion").predict("xray.jpeg").probability`
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from pneumonia.core import files
from pneumonia.core.errors import InputError
from pneumonia.core.parallel import cores
from pneumonia.inference import plausibility
from pneumonia.inference.operating_point import OperatingPoints
from pneumonia.inference.predictor import Graph, Prediction, Predictor

REPAIR_MODEL = (
    "fetch the model again; if it is damaged in the store, run `make register` where it was"
    " trained, or `make rollback` for the previous version"
)
TRAININGS = ("scratch", "transfer")  # their outputs are models/NAME
META = "registered_model_meta"
# The file name of each artifact; `PATHS` has its path in the folder of a fetched model.
FILES = {
    "graph": "graph.onnx",
    "operating_point": "operating_point.json",
    "plausibility": "plausibility.npz",
    "record": "record.json",
    "model_page": "model_card.html",
    "samples": "samples",
}
PATHS = {name: f"artifacts/{file}" for name, file in FILES.items()}
# The artifacts that predictions and warnings depend on.
DECISIVE = ("graph", "operating_point", "plausibility")
ModelFiles = Mapping[str, bytes]


@dataclass(frozen=True)
class Sample:
    """A computed drawing to try the model on: its file name, its label and its PNG bytes."""

    name: str
    label: str
    payload: bytes


@dataclass(frozen=True)
class ModelBundle:
    """A model that is ready to predict."""

    #: name and version in the registry; without a registry, the training's name and "".
    name: str
    version: str
    source: str  #: "scratch" or "transfer"
    predictor: Predictor  #: the graph, preprocessing, operating point and statistics
    #: the hashes, data, params and metrics that registry/registration.py wrote.
    record: dict[str, Any]
    card: str  #: the model card as HTML; "" if there is none
    samples: tuple[Sample, ...]  #: the drawings to try the model on
    pool: ThreadPoolExecutor = field(repr=False)  #: one thread per core, for single images

    def predict(self, image: str | Path | bytes) -> Prediction:
        """Predict one image; see `Predictor.predict`."""
        return self.predictor.predict(image)


def load_model(where: str, threads: int = 0) -> ModelBundle:
    """Load a model for inference on this number of `threads`; 0 means all cores.

    Args:
        where: `models:/NAME@champion` or `models:/NAME/VERSION`; or the folder of a fetched model;
            or `scratch`, `transfer` or the folder of such a training.

    Raises:
        InputError: the model does not exist or is damaged, or the store does not respond.
    """
    return load_files(fetch_model(where), threads)


def champion() -> str:
    """The URI of the champion of the registered model that params.yaml names."""
    from pneumonia.core.config import load_params

    name = load_params(Path("params.yaml")).register.registered_model
    return f"models:/{name}@champion"


def fetch_model(where: str) -> ModelFiles:
    """Read a model's files (some megabytes), so that workers can get them without the store.

    `where` and the errors are the same as for `load_model`. The result maps each path in the folder
    of a fetched model to the file's content.
    """
    folder = Path("models", where) if where in TRAININGS else Path(where)
    if where in TRAININGS or (folder / files.RECORD).is_file():
        return _read_training(folder)
    if folder.is_dir():
        return _read_fetched(where, folder)
    if ":" not in where:
        raise InputError(f"--model {where}: neither a folder nor models:/NAME@champion")
    from pneumonia.tracking import store

    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ["MLFLOW_TRACKING_URI"] = store.uri()
    store.quieten_logging()
    with TemporaryDirectory() as copy:
        try:
            from mlflow.artifacts import download_artifacts

            fetched = download_artifacts(artifact_uri=where, dst_path=copy)
        except Exception as error:
            # Each kind of store has its own exceptions: files, SQL, HTTP.
            raise store.load_error(where, error) from None
        return _read_fetched(where, Path(fetched))


def load_files(content: ModelFiles, threads: int = 0) -> ModelBundle:
    """Make a model from the files that `fetch_model` read.

    Raises:
        InputError: the model is damaged.
    """
    with TemporaryDirectory() as folder:
        for name, payload in content.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(payload)
        paths = {name: Path(folder, path) for name, path in PATHS.items()}
        artifacts = {name: str(path) for name, path in paths.items() if path.exists()}
        return load_artifacts(artifacts, threads)


def load_artifacts(artifacts: Mapping[str, str], threads: int = 0) -> ModelBundle:
    """Make a model from file paths by artifact name, as MLflow gives them to a pyfunc.

    Only the graph and the operating point are required.

    Raises:
        InputError: a file is damaged, or the graph differs from the registered graph.
    """
    point_file = Path(artifacts["operating_point"])
    points = OperatingPoints.read(point_file)
    name, version = _registered(point_file)
    threads = threads or cores()
    record = json.loads(_text(artifacts, "record") or "{}")
    sha256 = record.get("hashes", {}).get("graph_sha256", "")
    graph = Graph(Path(artifacts["graph"]), threads, sha256, REPAIR_MODEL)
    path = artifacts.get("plausibility")
    statistics = plausibility.load(Path(path)) if path else None
    return ModelBundle(
        name=name or points.better,
        version=version,
        source=points.better,
        predictor=Predictor(graph, points.points[points.better], statistics),
        record=record,
        card=_text(artifacts, "model_page"),
        samples=_samples(artifacts),
        pool=ThreadPoolExecutor(threads, thread_name_prefix="image"),
    )


def decisive_sha256(content: ModelFiles) -> str:
    """The SHA-256 of the files from `fetch_model` that predictions and warnings depend on."""
    hashed = hashlib.sha256()
    for name in DECISIVE:
        if PATHS[name] in content:
            digest = hashlib.sha256(content[PATHS[name]]).hexdigest()
            hashed.update(f"{name} {digest}\n".encode())
    return hashed.hexdigest()


def _read_training(folder: Path) -> ModelFiles:
    """Read the graph in `folder`, models/NAME, and its operating point in reports/evaluate."""
    evaluation = folder.parent.parent / "reports" / "evaluate"
    points = OperatingPoints.read(evaluation / FILES["operating_point"])
    try:
        single = OperatingPoints(folder.name, {folder.name: points.points[folder.name]})
        graph = files.read_checked(folder / FILES["graph"])
    except KeyError:
        raise InputError(f"{folder}: `dvc repro evaluate` has not evaluated this model") from None
    except FileNotFoundError as error:
        name = error.filename
        raise InputError(f"{name}: no such file; `make repro` trains the models") from None
    content = {PATHS["graph"]: graph, PATHS["operating_point"]: single.to_json().encode()}
    statistics = evaluation / FILES["plausibility"]
    if statistics.is_file():
        content[PATHS["plausibility"]] = statistics.read_bytes()
    return content


def _read_fetched(where: str, folder: Path) -> ModelFiles:
    """Read all files in the folder of a fetched model, except its code."""
    paths = [folder / META, *(folder / "artifacts").rglob("*")]
    content = {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in paths if path.is_file()
    }
    if not {PATHS["graph"], PATHS["operating_point"]} <= content.keys():
        raise InputError(f"--model {where}: not a model of this project")
    return content


def _registered(artifact: Path) -> tuple[str, str]:
    """Read the name and version that MLflow writes beside a model from the registry."""
    for folder in artifact.parents:
        if (folder / META).is_file():
            meta = yaml.safe_load((folder / META).read_text(encoding="utf-8"))
            return str(meta["model_name"]), str(meta["model_version"])
    return "", ""


def _text(artifacts: Mapping[str, str], name: str) -> str:
    return Path(artifacts[name]).read_text(encoding="utf-8") if name in artifacts else ""


def _samples(artifacts: Mapping[str, str]) -> tuple[Sample, ...]:
    """Read the drawings; their files are named CLASS-NUMBER.png."""
    paths = sorted(Path(artifacts["samples"]).glob("*.png")) if "samples" in artifacts else []
    return tuple(
        Sample(path.name, path.stem.split("-")[0].upper(), path.read_bytes()) for path in paths
    )
