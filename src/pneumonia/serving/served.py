"""What lies with a registered model, read once: for its pyfunc and for the application."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from pneumonia.evaluation.operating_point import OperatingPoint
from pneumonia.predictor import Graph, Predictor
from pneumonia.serving import plausibility
from pneumonia.serving.cores import cores

MEND = (
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
class ServedModel:
    """A model that is ready to answer.

    Attributes:
        name, version: as registered; of a model that is not, its training and "".
        source: "scratch" or "transfer".
        predictor: graph, preprocessing, operating point.
        plausibility: statistics of the images it was trained on; None without them.
        record: hashes, data, params and metrics, as tracking/artifacts.py wrote them.
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


def load(artifacts: Mapping[str, str], threads: int = 0) -> ServedModel:
    """Read the files of a registered model, by the names that tracking/artifacts.py gave them.

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
    graph = Graph(Path(artifacts["graph"]), threads, sha256, MEND)
    return ServedModel(
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
