"""Which images a report shows: picked by a rule, so that nobody picks the pretty ones.

The images that `gradcam_report` shows, and each model's answers to them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumonia.explain.checks import MaskedImages
from pneumonia.explain.gradcam import ExplainedModel
from pneumonia.inference.operating_point import OperatingPoint


@dataclass(frozen=True)
class Explained:
    """What a model said of an image, and where it looked.

    Attributes:
        probability, threshold: 0 to 1.
        heat_map: for PNEUMONIA, float32, (h, w).
        against: for NORMAL, likewise.
        scale: value shown as the hottest colour.
    """

    probability: float
    threshold: float
    heat_map: NDArray[np.float32]
    against: NDArray[np.float32]
    scale: float

    @property
    def called(self) -> bool:
        """Whether the image is called PNEUMONIA."""
        return self.probability >= self.threshold


@dataclass(frozen=True)
class Exhibit:
    """An image of a gallery, and each model's answer.

    Attributes:
        image_id: of the manifest.
        subtype: likewise.
        image: uint8, (S, S).
        box: rows and columns of the square that the image fills.
        mask: bool, (S, S); None where unknown.
        answers: by model.
    """

    image_id: str
    subtype: str
    image: NDArray[np.uint8]
    box: tuple[slice, slice]
    mask: NDArray[np.bool_] | None
    answers: dict[str, Explained]


GROUPS = {
    "true_positive": (1, 1),
    "false_negative": (1, 0),
    "false_positive": (0, 1),
    "true_negative": (0, 0),
}


def pick(predictions: pd.DataFrame, threshold: float, images: int) -> dict[str, list[str]]:
    """Images of each outcome, from the most to the least confident at even steps.

    Args:
        predictions: one model's rows on one split.
        threshold: its operating point.
        images: at most this many a group.

    Returns:
        image_ids by group; a group without images is empty.
    """
    called = (predictions["probability"] >= threshold).astype(int)
    # Ties, frequent at probabilities of almost 1, go by image_id.
    order = predictions.assign(
        called=called, confidence=(predictions["probability"] - threshold).abs()
    ).sort_values(["confidence", "image_id"], ascending=[False, True])
    picked = {}
    for group, (label, decision) in GROUPS.items():
        rows = order[(order["label"] == label) & (order["called"] == decision)]
        places = np.linspace(0, len(rows) - 1, min(images, len(rows))).round().astype(int)
        picked[group] = rows["image_id"].iloc[places].tolist()
    return picked


def exhibits(
    images: MaskedImages,
    subjects: dict[str, ExplainedModel],
    points: dict[str, OperatingPoint],
    predictions: pd.DataFrame,
    better: str,
    count: int,
) -> dict[str, list[Exhibit]]:
    """The galleries by outcome.

    Args:
        images: of test.
        subjects, points: by model.
        predictions: the table of `evaluate`.
        better: the model whose decisions the groups are.
        count: images a group.
    """
    rows = predictions[(predictions["split"] == "test") & (predictions["model"] == better)]
    place = {image_id: row for row, image_id in enumerate(images.table["image_id"])}

    def exhibit(image_id: str) -> Exhibit:
        row = place[image_id]
        answers = {
            name: Explained(
                float(points[name].probability(one.logits[row])), points[name].threshold,
                one.maps[row], one.against[row], one.scale,
            )
            for name, one in subjects.items()
        }  # fmt: skip
        subtype = str(images.table["subtype"].iloc[row])
        pixels = images.images[row, ..., 0]
        return Exhibit(image_id, subtype, pixels, images.boxes[row], images.masks[row], answers)

    picked = pick(rows, points[better].threshold, count)
    return {group: [exhibit(image) for image in some] for group, some in picked.items()}
