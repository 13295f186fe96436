"""A model and the maps of it that are shown and checked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pneumonia.explain.gradcam import LAST, Explainer, explainer
from pneumonia.explain.overlay import heat_scale
from pneumonia.params import GradcamReportParams
from pneumonia.predictor import Graph

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Subject:
    """A model whose maps are checked, and those maps of the test images.

    Attributes:
        model: the trained network.
        graph: its exported graph.
        explain: gives the maps that are checked.
        logits: of the test images, float32, (N,).
        maps: float32, (N, h, w).
        against: the maps for NORMAL, likewise.
        second_maps: `maps` of the network that was trained with another seed.
        scale: value of a map drawn as the hottest colour.
        val_auc, second_val_auc: AUC on validation of both trainings.
    """

    model: keras.Model
    graph: Graph
    explain: Explainer
    logits: NDArray[np.float32]
    maps: NDArray[np.float32]
    against: NDArray[np.float32]
    second_maps: NDArray[np.float32]
    scale: float
    val_auc: float
    second_val_auc: float


def read_subject(
    folder: Path,
    images: NDArray[np.uint8],
    ill: NDArray[np.uint8],
    scale: float,
    params: GradcamReportParams,
) -> Subject:
    """Read a trained model and explain the test images by it.

    Where the params ask for the map that the exported graph gives, that one is taken, with the
    scale that is served: what is checked is what is shown to users.

    Args:
        folder: of the trained model.
        images: of test, uint8, (N, S, S, 1).
        ill: the images of PNEUMONIA in validation; other maps have their scale from them.
        scale: of the operating point.
        params: the stage's block.

    Raises:
        InputError: files that are not there, or no such layer.
    """
    from pneumonia.models.trained import load

    layer = getattr(params.layer, folder.name)
    method, flips = params.method, params.flips
    model, graph = load(folder), Graph(folder / "graph.onnx")
    explain = explainer(model, method, layer, flips=flips)
    logits, maps = graph.run(images)
    if (method, layer, flips) != ("gradcam", LAST, False):
        maps, scale = explain(images), heat_scale(explain(ill))
    second = load(folder, "second_seed.weights.h5")
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return Subject(
        model=model,
        graph=graph,
        explain=explain,
        logits=logits,
        maps=maps,
        against=explainer(model, method, layer, normal=True, flips=flips)(images),
        second_maps=explainer(second, method, layer, flips=flips)(images),
        scale=scale,
        val_auc=metrics["val_auc"],
        second_val_auc=metrics["second_seed_val_auc"],
    )
