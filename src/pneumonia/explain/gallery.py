"""The images that `gradcam_report` shows, chosen by a rule, with both models' predictions.

`register` draws the images later, so they are written to a file that can be read without a model.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumonia.explain.checks import MaskedImages
from pneumonia.explain.gradcam import ExplainedModel
from pneumonia.inference.operating_point import OperatingPoint


@dataclass(frozen=True)
class Explanation:
    """A model's prediction for an image, and its heat maps."""

    probability: float  #: probability of pneumonia, 0 to 1
    threshold: float  #: the model's decision threshold, 0 to 1
    heat_map: NDArray[np.float32]  #: map for PNEUMONIA, float32, (h, w), not negative
    against: NDArray[np.float32]  #: map for NORMAL, float32, (h, w), not negative
    scale: float  #: value drawn as the hottest colour

    @property
    def positive(self) -> bool:
        """Whether the decision is PNEUMONIA."""
        return self.probability >= self.threshold


@dataclass(frozen=True)
class Exhibit:
    """An image of a gallery, with the explanations of both models."""

    image_id: str  #: image id in the manifest
    subtype: str  #: subtype in the manifest
    image: NDArray[np.uint8]  #: uint8, (S, S)
    box: tuple[slice, slice]  #: rows and columns of the square that the image fills
    mask: NDArray[np.bool_] | None  #: mask of the opacity, bool, (S, S); None if unknown
    explanations: dict[str, Explanation]  #: one per model, by name


# The label and the decision of each outcome.
GROUPS = {
    "true_positive": (1, 1),
    "false_negative": (1, 0),
    "false_positive": (0, 1),
    "true_negative": (0, 0),
}


def pick(predictions: pd.DataFrame, threshold: float, images: int) -> dict[str, list[str]]:
    """Choose images of each outcome, at even steps from the most to the least confident.

    Args:
        predictions: one model's rows on one split.
        threshold: the model's decision threshold.
        images: the highest number of images per group.

    Returns:
        The image ids by group; the list of a group without images is empty.
    """
    probability = predictions["probability"]
    # Equal confidences, frequent for probabilities near 1, are ordered by image_id.
    ordered = predictions.assign(
        decision=probability >= threshold, confidence=(probability - threshold).abs()
    ).sort_values(["confidence", "image_id"], ascending=[False, True])
    picked = {}
    for group, (label, decision) in GROUPS.items():
        rows = ordered[(ordered["label"] == label) & (ordered["decision"] == decision)]
        places = np.linspace(0, len(rows) - 1, min(images, len(rows))).round().astype(int)
        picked[group] = rows["image_id"].iloc[places].tolist()
    return picked


def exhibits(
    images: MaskedImages, models: dict[str, ExplainedModel], points: dict[str, OperatingPoint],
    predictions: pd.DataFrame, better: str, count: int,
) -> dict[str, list[Exhibit]]:  # fmt: skip
    """Make a gallery for each outcome.

    Args:
        images: the test images.
        predictions: the table predictions.csv from `evaluate`.
        better: name of the better model; its decisions define the groups.
        count: number of images per group.
    """
    rows = predictions[(predictions["split"] == "test") & (predictions["model"] == better)]
    image_ids = images.table["image_id"].tolist()

    def exhibit(image_id: str) -> Exhibit:
        row = image_ids.index(image_id)
        explanations = {
            name: Explanation(
                float(points[name].probability(model.logits[row])), points[name].threshold,
                model.maps[row], model.against[row], model.scale,
            )
            for name, model in models.items()
        }  # fmt: skip
        return Exhibit(
            image_id, str(images.table["subtype"].iloc[row]), images.images[row, ..., 0],
            images.boxes[row], images.masks[row], explanations,
        )  # fmt: skip

    picked = pick(rows, points[better].threshold, count)
    return {group: [exhibit(image_id) for image_id in ids] for group, ids in picked.items()}


def write_exhibits(path: Path, galleries: dict[str, list[Exhibit]]) -> None:
    """Write an .npz file without pickles; the same galleries give the same bytes."""
    arrays: dict[str, Any] = {}
    for group, exhibits in galleries.items():
        for number, exhibit in enumerate(exhibits):
            box = [(side.start, side.stop) for side in exhibit.box]
            values = {**vars(exhibit), "box": box}
            for model, explanation in values.pop("explanations").items():
                values |= {f"{model}/{name}": value for name, value in vars(explanation).items()}
            for name, value in values.items():
                if value is not None:  # None is an unknown mask
                    arrays[f"{group}/{number}/{name}"] = value
    with path.open("wb") as file:
        np.savez(file, **arrays)


def read_exhibits(path: Path) -> dict[str, list[Exhibit]]:
    """Read the galleries that `write_exhibits` wrote."""
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    models = list(dict.fromkeys(name.split("/")[2] for name in arrays if name.count("/") == 3))

    def read(key: str) -> Exhibit:
        explanations = {
            model: Explanation(
                float(arrays[f"{key}/{model}/probability"]),
                float(arrays[f"{key}/{model}/threshold"]), arrays[f"{key}/{model}/heat_map"],
                arrays[f"{key}/{model}/against"], float(arrays[f"{key}/{model}/scale"]),
            )
            for model in models
        }  # fmt: skip
        rows, columns = (slice(*map(int, ends)) for ends in arrays[f"{key}/box"])
        return Exhibit(
            str(arrays[f"{key}/image_id"]), str(arrays[f"{key}/subtype"]), arrays[f"{key}/image"],
            (rows, columns), arrays.get(f"{key}/mask"), explanations,
        )  # fmt: skip

    keys = [name.removesuffix("/image") for name in arrays if name.endswith("/image")]
    return {group: [read(key) for key in keys if key.startswith(f"{group}/")] for group in GROUPS}
