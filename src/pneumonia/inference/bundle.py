"""What lies with a registered model, read once: for its pyfunc and for the application.

The model that scores: fetched once, handed to workers as bytes, known by a hash.
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

from pneumonia.core.errors import InputError
from pneumonia.core.parallel import cores
from pneumonia.inference import plausibility
from pneumonia.inference.operating_point import OperatingPoint
from pneumonia.inference.predictor import Graph, Predictor

REPAIR_MODEL = (
    "fetch the model anew; if the store has it so, `make register` registers it anew where it was"
    " trained, and `make rollback` goes back to the one before it"
)


@dataclass(frozen=True)
class Sample:
    """A drawn image to try: its file's name, its class, its bytes (PNG)."""

    name: str
    label: str
    payload: bytes


@dataclass(frozen=True)
class ModelBundle:
    """A model that is ready to answer.

    Attributes:
        name, version: as registered; of a model that is not, its training and "".
        source: "scratch" or "transfer".
        predictor: graph, preprocessing, operating point.
        plausibility: statistics of the images it was trained on; None without them.
        record: hashes, data, params and metrics, as registry/registration.py wrote them.
        card: the model card, HTML; "" without one.
        samples: drawn images.
        pool: threads for what is done to a single image, one a core.
    """

    name: str
    version: str
    source: str
    predictor: Predictor
    plausibility: plausibility.Plausibility | None
    record: dict[str, Any]
    card: str
    samples: tuple[Sample, ...]
    pool: ThreadPoolExecutor = field(repr=False)


def load_bundle(artifacts: Mapping[str, str], threads: int = 0) -> ModelBundle:
    """Read the files of a registered model, by the names that registry/registration.py gave them.

    Models that were registered with fewer of them are served with less.

    Raises:
        InputError: the graph is not the one that was registered.
    """
    point_file = Path(artifacts["operating_point"])
    point = json.loads(point_file.read_text(encoding="utf-8"))
    source = point.pop("model")
    name, version = _registered(point_file)
    threads = threads or cores()
    statistics = artifacts.get("plausibility")
    record = json.loads(_text(artifacts, "record") or "{}")
    sha256 = record.get("hashes", {}).get("graph_sha256", "")
    graph = Graph(Path(artifacts["graph"]), threads, sha256, REPAIR_MODEL)
    return ModelBundle(
        name=name or source,
        version=version,
        source=source,
        predictor=Predictor(graph, OperatingPoint(**point)),
        plausibility=plausibility.load(Path(statistics)) if statistics else None,
        record=record,
        card=_text(artifacts, "model_page"),
        samples=_samples(artifacts),
        pool=ThreadPoolExecutor(threads, thread_name_prefix="image"),
    )


def _registered(artifact: Path) -> tuple[str, str]:
    """Name and version, which MLflow writes beside a model fetched from the registry."""
    for folder in artifact.parents:
        meta = folder / "registered_model_meta"
        if meta.is_file():
            found = yaml.safe_load(meta.read_text(encoding="utf-8"))
            return str(found["model_name"]), str(found["model_version"])
    return "", ""


def _text(artifacts: Mapping[str, str], name: str) -> str:
    return Path(artifacts[name]).read_text(encoding="utf-8") if name in artifacts else ""


def _samples(artifacts: Mapping[str, str]) -> tuple[Sample, ...]:
    """The drawn images: CLASS-NUMBER.png."""
    if "samples" not in artifacts:
        return ()
    files = sorted(Path(artifacts["samples"]).glob("*.png"))
    return tuple(
        Sample(file.name, file.stem.split("-")[0].upper(), file.read_bytes()) for file in files
    )


META = ("MLmodel", "registered_model_meta")
# What decides on an answer; the model card does not.
DECISIVE = ("graph", "operating_point", "plausibility")
Files = Mapping[str, bytes]


def fetch_model(model: str) -> dict[str, bytes]:
    """Read what of a registered model is needed for scoring: path in its folder to contents.

    A few megabytes. Workers that are handed them need no way to the store.

    Args:
        model: `models:/NAME@champion`, or the folder of a fetched model.

    Raises:
        InputError: no such model, or its store does not answer.
    """
    if Path(model).is_dir():
        return _read(model, Path(model))
    if ":" not in model:
        raise InputError(f"--model {model}: neither a folder nor models:/NAME@champion")
    from pneumonia.tracking import store

    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ["MLFLOW_TRACKING_URI"] = store.uri()
    store.hush()
    with TemporaryDirectory() as folder:
        try:
            from mlflow.artifacts import download_artifacts

            fetched = download_artifacts(artifact_uri=model, dst_path=folder)
        except Exception as error:
            # Each kind of store has its own exceptions: files, SQL, HTTP.
            raise store.not_loaded(model, error) from None
        return _read(model, Path(fetched))


def champion() -> str:
    """Where the champion of params.yaml is, as `fetch_model` takes it."""
    from pneumonia.core.config import load_params

    name = load_params(Path("params.yaml")).evaluate.registered_model
    return f"models:/{name}@champion"


def load_model(files: Files, threads: int) -> ModelBundle:
    """A model from its files, for so many threads that score side by side."""

    with TemporaryDirectory() as folder:
        for name, payload in files.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(payload)
        artifacts = {name: str(Path(folder, path)) for name, path in _artifacts(files).items()}
        return load_bundle(artifacts, threads)


def decisive_sha256(files: Files) -> str:
    """Of what decides on the answers: graph, operating point, statistics for the warnings."""
    hashed = hashlib.sha256()
    for name, path in sorted(_artifacts(files).items()):
        payload = hashlib.sha256(files[path]).hexdigest()
        hashed.update(f"{name} {payload}\n".encode())
    return hashed.hexdigest()


def _read(model: str, folder: Path) -> dict[str, bytes]:
    try:
        files = {name: (folder / name).read_bytes() for name in META if (folder / name).is_file()}
        return files | {path: (folder / path).read_bytes() for path in _artifacts(files).values()}
    except (OSError, KeyError, TypeError, yaml.YAMLError):
        raise InputError(f"--model {model}: no model of this project") from None


def _artifacts(files: Files) -> dict[str, str]:
    """Path in the folder by the name of the artifact, of the decisive ones."""
    known = yaml.safe_load(files["MLmodel"])["flavors"]["python_function"]["artifacts"]
    return {name: str(known[name]["path"]) for name in DECISIVE if name in known}
