"""Small candidates for the registry, and validation images that they rank well or badly.

As a program it registers a model as the stage `register` does, for tests with two processes:
python -m tests.registry.candidates FOLDER NAME BARRIER
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from pneumonia.core.config import load_params
from pneumonia.core.files import hashes
from pneumonia.evaluation import noninferiority
from pneumonia.inference.operating_point import OperatingPoint
from pneumonia.inference.predictor import Graph
from pneumonia.registry import promotion, registration
from pneumonia.tracking import runs
from pneumonia.tracking.store import connected
from tests.pipeline.imports import ROOT

SIZE = 32
DIGEST = "d" * 64
POINT = OperatingPoint(slope=1.0, intercept=1.0, threshold=0.5, map_scale=1.0)
TIMEOUT = 60  # s, if the other process has died


@dataclass(frozen=True)
class Images:
    """A manifest of train, val and test images, and the images of val."""

    table: pd.DataFrame
    images: NDArray[np.uint8]


def some_images(patients: int = 60, seed: int = 0) -> Images:
    """Two images per patient; pneumonia is a bright spot in the middle, in noise."""
    rng = np.random.default_rng(seed)
    rows, images = [], []
    for split in ("train", "val", "test"):
        for patient in range(patients):
            label = patient % 2
            for _ in range(2):
                image = rng.normal(110, 30, (SIZE, SIZE))
                image[12:20, 12:20] += 25 * label + rng.normal(0, 10)
                key = {"image_id": f"{len(rows):016x}", "patient_id": f"{split}{patient}"}
                rows.append(key | {"split": split, "label": label})
                if split == "val":
                    images.append(np.clip(image, 0, 255).astype(np.uint8)[..., None])
    return Images(pd.DataFrame(rows), np.stack(images))


def make_candidate(
    folder: Path, looks_at: int = 8, size: int = SIZE, digest: str = DIGEST
) -> registration.Candidate:
    """Write the folder of a trained model whose logit is the mean of a square in the middle.

    Args:
        folder: to write.
        looks_at: side of that square, px; 8 is that of the opacity, others have a lower AUC.
        size: side of its images, px.
        digest: of its training data.
    """
    folder.mkdir(parents=True)
    weights = np.zeros((1, size, size, 1), np.float32)
    start = (size - looks_at) // 2
    weights[:, start : start + looks_at, start : start + looks_at] = 1 / looks_at**2
    _write_graph(folder / "graph.onnx", weights)
    (folder / "weights.weights.h5").write_bytes(weights.tobytes())
    record = {
        "model": "scratch",
        "params": {"epochs": looks_at, "augment": {"gamma": 0.1}},
        "data_digest": digest,
        "image_size": size,
        "sha256": hashes([folder / "graph.onnx", folder / "weights.weights.h5"]),
    }
    (folder / "training.json").write_text(json.dumps(record))
    (folder / "metrics.json").write_text(json.dumps({"best_epoch": 1, "best_val_auc": 0.5}))
    (folder / "history.csv").write_text("epoch,val_loss,val_auc\n1,0.5,0.75\n")
    (folder / "intervals.csv").write_text("model,split,metric,value,low,high\n")
    return read_candidate(folder)


def read_candidate(folder: Path) -> registration.Candidate:
    """What `make_candidate` wrote; its reports are an empty table, without a model card."""
    sha256 = Graph(folder / "graph.onnx").sha256
    return registration.Candidate("scratch", folder, sha256, POINT, folder, folder)


PARAMS = load_params(ROOT / "params.yaml")


def submit(
    candidate: registration.Candidate,
    name: str,
    images: Images,
    digest: str = DIGEST,
    failed_maps: str = "",
    failed_checks: Callable[[], list[str]] = list,
    **promotion_params: float,
) -> promotion.Decision:
    """Register a candidate and decide on it, as the stage `register`; by default no check fails."""
    with connected(), runs.open_run(candidate.folder, images.table):
        version = registration.register(name, candidate)
        rule = PARAMS.register.promotion.model_copy(update=promotion_params)
        rows = images.table[images.table["split"] == "val"]
        scored = noninferiority.run_graph(
            Graph(candidate.graph), rows, images.images, PARAMS.evaluate
        )
        return promotion.decide(
            name,
            version,
            scored,
            images.table,
            images.images,
            digest,
            failed_maps,
            failed_checks,
            rule,
            PARAMS.evaluate,
        )


def _write_graph(path: Path, weights: NDArray[np.float32]) -> None:
    size = weights.shape[1]
    nodes = [
        helper.make_node("Cast", ["image"], ["levels"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["levels", "weights"], ["weighed"]),
        helper.make_node("ReduceSum", ["weighed", "axes"], ["logit"], keepdims=0),
        helper.make_node("Squeeze", ["weighed", "channel"], ["map"]),
    ]
    constants = [
        numpy_helper.from_array(weights, "weights"),
        helper.make_tensor("axes", TensorProto.INT64, [3], [1, 2, 3]),
        helper.make_tensor("channel", TensorProto.INT64, [1], [3]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", size, size, 1])
    logit = helper.make_tensor_value_info("logit", TensorProto.FLOAT, ["N"])
    heat = helper.make_tensor_value_info("map", TensorProto.FLOAT, ["N", size, size])
    graph = helper.make_graph(nodes, "image", [image], [logit, heat], constants)
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)


def _meet(call: Any, place: Path, who: str, *arguments: Any, **keywords: Any) -> Any:
    """Call a function when the other process is also about to call it."""
    place.mkdir(exist_ok=True)
    (place / who).touch()
    until = time.monotonic() + TIMEOUT
    while len(list(place.iterdir())) < 2:
        if time.monotonic() > until:
            sys.exit(f"the other process did not come to {place.name}")
        time.sleep(0.01)
    return call(*arguments, **keywords)


def main() -> None:
    """Submit a folder; wait for the other process before logging data and before registering."""
    import mlflow

    folder, name, barrier = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    for call in ("log_input", "register_model"):
        meet = partial(_meet, getattr(mlflow, call), barrier / call, folder.parent.name)
        setattr(mlflow, call, meet)
    print(json.dumps(submit(read_candidate(folder), name, some_images()).version))


if __name__ == "__main__":
    main()
