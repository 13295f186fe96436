"""The model that scores: fetched once, handed to workers as bytes, known by a hash."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import yaml

from pneumonia.errors import InputError

if TYPE_CHECKING:
    from pneumonia.serving.served import ServedModel

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
    from pneumonia.params import load_params

    name = load_params(Path("params.yaml")).evaluate.registered_model
    return f"models:/{name}@champion"


def load_model(files: Files, threads: int) -> ServedModel:
    """A model from its files, for so many threads that score side by side."""
    from pneumonia.serving.served import load

    with TemporaryDirectory() as folder:
        for name, payload in files.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(payload)
        artifacts = {name: str(Path(folder, path)) for name, path in _artifacts(files).items()}
        return load(artifacts, threads)


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
