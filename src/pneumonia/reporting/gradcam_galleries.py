"""The images that `gradcam_report` shows, and each model's answers to them."""

from __future__ import annotations

import pandas as pd

from pneumonia.evaluation.operating_point import OperatingPoint
from pneumonia.explain.checks import MaskedImages
from pneumonia.explain.gallery import pick
from pneumonia.explain.subject import Subject
from pneumonia.reporting.gradcam_figures import Exhibit, Explained


def exhibits(
    images: MaskedImages,
    subjects: dict[str, Subject],
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
