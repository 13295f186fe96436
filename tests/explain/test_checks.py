"""The checks, on a network that detects a bright spot, with right and wrong explainers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.ndimage import sobel

from pneumonia.core.config import GradcamReportParams
from pneumonia.explain.checks import (
    NO,
    YES,
    MaskedImages,
    check,
    images_to_check,
    verdicts,
)
from pneumonia.explain.gradcam import ExplainedModel, explainer
from pneumonia.inference.predictor import Graph
from pneumonia.models.export import add_head, export
from tests.models.test_graphs import shipped

SIDE, CELL, COUNT = 64, 8, 160
Maps = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def params() -> GradcamReportParams:
    return shipped().gradcam_report.model_copy(update={"check_images": 20, "randomisations": 3})


@pytest.fixture(scope="module")
def images() -> MaskedImages:
    """Noise; on the images of PNEUMONIA a cell somewhere off the border is bright."""
    rng = np.random.default_rng(3)
    images = rng.normal(90, 12, (COUNT, SIDE, SIDE, 1)).clip(0, 255).astype(np.uint8)
    masks: list[NDArray[np.bool_] | None] = []
    for number in range(COUNT):
        mask = np.zeros((SIDE, SIDE), bool)
        if number % 2:
            row, column = rng.integers(1, 7, 2) * CELL
            images[number, row : row + CELL, column : column + CELL] = 240
            mask[row : row + CELL, column : column + CELL] = True
        masks.append(mask if number % 2 else None)
    table = pd.DataFrame({
        "label": np.arange(COUNT) % 2, "patient_id": [f"p{number // 2}" for number in range(COUNT)],
    })  # fmt: skip
    return MaskedImages(images, table, masks, [(slice(0, SIDE), slice(0, SIDE))] * COUNT)


@pytest.fixture(scope="module")
def model() -> Any:
    """Cells of 8 px whose mean is over 160 are evidence; the other channels see no brightness."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    image = keras.Input((SIDE, SIDE, 1), dtype="uint8", name="image")
    x = layers.Rescaling(1 / 255)(image)
    x = layers.Conv2D(8, CELL, strides=CELL, name="cells")(x)
    x = layers.ReLU(name="features")(x)
    found = add_head(image, x, "scratch")
    kernel, bias = found.get_layer("cells").get_weights()
    kernel -= kernel.mean(axis=(0, 1, 2))
    kernel[..., 0], bias[0] = 1 / CELL**2, -160 / 255
    head = np.zeros((8, 1), np.float32)
    head[0] = 1500.0
    found.set_weights([kernel, bias, head])
    return found


@pytest.fixture(scope="module")
def graph(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Graph:
    path = tmp_path_factory.mktemp("graph") / "graph.onnx"
    export(model, path)
    return Graph(path)


def checked(model: Any, graph: Graph, images: MaskedImages, explain: Maps) -> dict[str, Any]:
    maps = explain(images.images)
    explained = ExplainedModel(
        model=model, graph=graph, explain=explain, logits=graph.run(images.images)[0], maps=maps,
        against=maps, second_maps=maps, scale=1.0, val_auc=1.0, second_val_auc=1.0,
    )  # fmt: skip
    return check(explained, maps, images, params())[0]


def answers(figures: dict[str, Any]) -> dict[str, str]:
    return {one.check: one.answer for one in verdicts(figures, 0.5)}


def edge_detector(some: NDArray[np.uint8]) -> NDArray[np.float32]:
    pixels = some[..., 0].astype(np.float32)
    return np.hypot(sobel(pixels, axis=1), sobel(pixels, axis=2))


def test_grad_cam_passes(model: Any, graph: Graph, images: MaskedImages) -> None:
    found = checked(model, graph, images, explainer(model))
    assert answers(found) == dict.fromkeys(answers(found), YES)
    figures = found
    assert figures["failed"] == ""
    assert figures["energy_inside"] > 0.5
    assert figures["pointing_game"] == 1
    assert figures["mask_area"] == pytest.approx(1 / 64)
    assert figures["other_energy_inside"] < 0.2
    assert figures["images"] == figures["patients"] == 20
    assert figures["road"]["map"]["20"] > 2 * figures["road"]["random"]["20"]
    # Each patient has one image of PNEUMONIA, so maps of other patients mark other places.
    assert figures["second_seed_rank"] == pytest.approx(1)
    assert abs(figures["second_seed_pair_rank"]) < 0.3
    assert list(figures["cascade"]) == ["trained", "evidence", "cells"]


@pytest.mark.parametrize(
    ("broken", "failing"),
    [
        (edge_detector, ["depend on what"]),
        (lambda some: np.full((len(some), 8, 8), 0.4, np.float32), ["depend on what", "opacity"]),
    ],
    ids=["edges", "constant"],
)
def test_a_broken_explainer_fails(
    model: Any, graph: Graph, images: MaskedImages, broken: Maps, failing: list[str]
) -> None:
    result = checked(model, graph, images, broken)
    found = answers(result)
    assert found["Do the maps depend on what the network learnt?"] == NO
    assert "at most 0.50 is allowed" in result["failed"]
    for word in failing:
        [question] = [one for one in found if word in one]
        assert found[question] != YES


def test_maps_of_other_images_fail(model: Any, graph: Graph, images: MaskedImages) -> None:
    explain = explainer(model)
    found = answers(checked(model, graph, images, lambda some: np.roll(explain(some), 4, axis=0)))
    assert found["Does the logit depend on the hottest 20 % of the image?"] != YES
    assert found["Do the maps mark the opacity, where it is known?"] != YES


def test_a_network_that_uses_the_border_is_detected(
    model: Any, graph: Graph, images: MaskedImages
) -> None:
    squares = images.images.copy()
    squares[images.labels == 1, :6] = 250
    read = MaskedImages(squares, images.table, images.masks, images.boxes)
    found = checked(model, graph, read, explainer(model))
    assert answers(found)["Does the model need the centre of the image?"] == NO
    assert found["border_energy"] > 0.5
    assert answers(found)["Do the maps avoid the border?"] == NO


def test_pneumonia_is_checked_first_and_the_seed_decides() -> None:
    labels = np.array([0, 1] * 20 + [0] * 20)
    assert labels[images_to_check(labels, 15, 7)].all()
    assert labels[images_to_check(labels, 30, 7)].sum() == 20
    assert list(images_to_check(labels, 1000, 7)) == list(range(60))
    assert list(images_to_check(labels, 15, 7)) == list(images_to_check(labels, 15, 7))
    assert list(images_to_check(labels, 15, 7)) != list(images_to_check(labels, 15, 8))
