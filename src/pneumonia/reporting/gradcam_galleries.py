"""The films that `gradcam_report` shows, and each model's answers to them."""

from __future__ import annotations

import pandas as pd

from pneumonia.evaluation.operating_point import OperatingPoint
from pneumonia.explain.checks import Films
from pneumonia.explain.gallery import pick
from pneumonia.explain.subject import Subject
from pneumonia.reporting.gradcam_figures import Exhibit, Explained


def exhibits(
    films: Films,
    subjects: dict[str, Subject],
    points: dict[str, OperatingPoint],
    predictions: pd.DataFrame,
    better: str,
    count: int,
) -> dict[str, list[Exhibit]]:
    """The galleries by outcome.

    Args:
        films: of test.
        subjects, points: by model.
        predictions: the table of `evaluate`.
        better: the model whose decisions the groups are.
        count: films a group.
    """
    rows = predictions[(predictions["split"] == "test") & (predictions["model"] == better)]
    place = {image_id: row for row, image_id in enumerate(films.table["image_id"])}

    def exhibit(image_id: str) -> Exhibit:
        row = place[image_id]
        answers = {
            name: Explained(
                float(points[name].probability(one.logits[row])), points[name].threshold,
                one.maps[row], one.against[row], one.scale,
            )
            for name, one in subjects.items()
        }  # fmt: skip
        subtype = str(films.table["subtype"].iloc[row])
        pixels = films.images[row, ..., 0]
        return Exhibit(image_id, subtype, pixels, films.boxes[row], films.masks[row], answers)

    picked = pick(rows, points[better].threshold, count)
    return {group: [exhibit(film) for film in some] for group, some in picked.items()}
