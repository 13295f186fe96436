"""The files that go with a version of the registered model, for `serving.served` to read."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from pneumonia import intact
from pneumonia.data import phantom
from pneumonia.data.image import encode_png
from pneumonia.evaluation.operating_point import OperatingPoint
from pneumonia.predictor import LABELS
from pneumonia.tracking import runs

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
        report: the folder that `evaluate` writes, of which the model card, its page, the metrics
            with intervals and the statistics of the images go with the version.
    """

    source: str
    folder: Path
    graph_sha256: str
    point: OperatingPoint
    report: Path | None = None

    @property
    def graph(self) -> Path:
        """The exported graph."""
        return self.folder / "graph.onnx"

    @property
    def plausibility(self) -> Path | None:
        """The file of `serving.plausibility`, by which the served model warns of other pictures."""
        file = self.report / "plausibility.npz" if self.report else None
        return file if file and file.exists() else None

    @property
    def training(self) -> dict[str, Any]:
        """What the training wrote of itself."""
        return intact.record(self.folder)


def write_artifacts(candidate: Candidate, folder: Path) -> dict[str, str]:
    """Gather the files of a version, new ones in `folder`: name of the artifact to path."""
    point = folder / "operating_point.json"
    _write_json(point, {"model": candidate.source, **asdict(candidate.point)})
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
    if candidate.report:
        found["model_card"] = candidate.report / "model_card.md"
        found["model_page"] = candidate.report / "model_card.html"
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
    if candidate.report is None:
        return {}
    table = pd.read_csv(candidate.report / "intervals.csv")
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
