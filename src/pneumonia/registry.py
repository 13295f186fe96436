"""The registered model: which files it is made of, and the alias `champion`."""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

import pneumonia
from pneumonia.data.image import encode_png
from pneumonia.evaluation.operating_point import OperatingPoint

CHAMPION = "champion"
# What the served model imports, pinned to what the pipeline ran with.
REQUIREMENTS = (
    "mlflow-skinny",
    "fastapi",
    "uvicorn",
    "imagecodecs",
    "numpy",
    "onnxruntime",
    "pandas",
    "pillow",
    "pydicom",
    "pyyaml",
)


def register(
    name: str, graph: Path, graph_sha256: str, point: OperatingPoint, source: str, model_card: Path
) -> str:
    """Register a model under `name` from within its open run, and make it the champion.

    The same graph with the same operating point, served by the same code and libraries, is
    registered once.

    Args:
        name: of the registered model.
        graph: the exported graph.
        graph_sha256: its hash.
        point: its operating point.
        source: "scratch" or "transfer".
        model_card: a file that goes with the version.

    Returns:
        the version that is now the champion.
    """
    import mlflow

    client = mlflow.MlflowClient()
    contents = [graph_sha256, _code_sha256(), *_requirements(), json.dumps(asdict(point))]
    fingerprint = hashlib.sha256("\0".join(contents).encode()).hexdigest()
    known = client.search_model_versions(f"name = '{name}'")
    same = [found for found in known if found.tags.get("fingerprint") == fingerprint]
    chosen = same[0].version if same else _log_model(name, graph, point, source, model_card)
    client.set_model_version_tag(name, chosen, "fingerprint", fingerprint)
    client.set_model_version_tag(name, chosen, "model", source)
    client.set_registered_model_alias(name, CHAMPION, chosen)
    return str(chosen)


def _requirements() -> list[str]:
    return [f"{needed}=={version(needed)}" for needed in REQUIREMENTS]


def _code_sha256() -> str:
    """SHA-256 of the package that goes with the model, names and contents."""
    package = Path(pneumonia.__file__).parent
    hashed = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        hashed.update(f"{file.relative_to(package)}\0".encode() + file.read_bytes() + b"\0")
    return hashed.hexdigest()


def _log_model(name: str, graph: Path, point: OperatingPoint, source: str, model_card: Path) -> str:
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec, DataType, Schema

    package = Path(pneumonia.__file__).parent
    outputs = {
        "label": DataType.string,
        "probability": DataType.double,
        "threshold": DataType.double,
        "heat_map_png": DataType.string,
        "model": DataType.string,
        "version": DataType.string,
        "error": DataType.string,
        "notice": DataType.string,
    }
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        # The signature is given below; hints on `predict` would be a second one.
        warnings.filterwarnings("ignore", message="(?s).*type hint")
        card = Path(folder) / "operating_point.json"
        card.write_text(json.dumps({"model": source, **asdict(point)}, indent=2) + "\n")
        info = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(package / "serving" / "model.py"),
            code_paths=[str(package)],
            artifacts={
                "graph": str(graph),
                "operating_point": str(card),
                "model_card": str(model_card),
            },
            signature=ModelSignature(
                inputs=Schema([ColSpec(DataType.binary, "image")]),
                outputs=Schema([ColSpec(kind, column) for column, kind in outputs.items()]),
            ),
            input_example=pd.DataFrame({"image": [encode_png(np.zeros((64, 64), np.uint8))]}),
            pip_requirements=_requirements(),
            registered_model_name=name,
        )
    return str(info.registered_model_version)
