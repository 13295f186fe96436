"""A small registered model: a graph of two operations, fetched as a server fetches it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import mlflow
import pytest

from pneumonia.core.files import hashes
from pneumonia.inference.operating_point import OperatingPoint
from pneumonia.inference.predictor import Graph
from pneumonia.registry import registration
from pneumonia.tracking import runs
from pneumonia.tracking.store import connected
from tests.conftest import SIZE
from tests.inference.test_pyfunc import write_graph
from tests.registry.candidates import make_candidate, some_images
from tests.tracking.stores import use

NAME = "served"
POINT = OperatingPoint(slope=4.0, intercept=0.0, threshold=0.5, map_scale=0.8)
INTERVALS = """model,split,metric,value,low,high
scratch,test,auc,0.9,0.8,0.95
scratch,test,mcc,0.5,,
transfer,test,auc,0.1,0.0,0.2
"""


def register_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Register the model in a store of its own below `folder`; where it was fetched to."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", NAME)
    candidate = make_candidate(folder / "model", size=SIZE)
    write_graph(candidate.graph)
    record = candidate.training
    record["sha256"] |= hashes([candidate.graph])
    (candidate.folder / "training.json").write_text(json.dumps(record))
    report = folder / "report"
    report.mkdir()
    (report / "model_card.md").write_text("# Card\n")
    (report / "model_card.html").write_text("<!doctype html><title>Card</title>")
    (report / "intervals.csv").write_text(INTERVALS)
    candidate = replace(
        candidate,
        graph_sha256=Graph(candidate.graph).sha256,
        point=POINT,
        evaluation=report,
        card=report,
    )
    with use(f"sqlite:///{folder}/mlflow.db", monkeypatch), connected():
        with runs.open_run(candidate.folder, some_images(4).table):
            version = registration.register(NAME, candidate)
        fetched = mlflow.artifacts.download_artifacts(
            f"models:/{NAME}/{version}", dst_path=str(folder / "fetched")
        )
    return Path(fetched)
