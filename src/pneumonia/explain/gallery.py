"""The images that `gradcam_report` shows, chosen by a rule, with the answers of both models.

`register` draws them later, so they are written to a file that needs no model to read.
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
    """A model's prediction for an image, and its heat maps.

    Attributes:
        probability: of pneumonia, 0 to 1.
        threshold: of the model, 0 to 1.
        heat_map: for PNEUMONIA, float32, (h, w), not negative.
        against: for NORMAL, likewise.
        scale: value drawn as the hottest colour.
    """

    probability: float
    threshold: float
    heat_map: NDArray[np.float32]
    against: NDArray[np.float32]
    scale: float

    @property
    def positive(self) -> bool:
        """Whether the decision is PNEUMONIA."""
        return self.probability >= self.threshold


@dataclass(frozen=True)
class Exhibit:
    """An image of a gallery, with the explanations of both models.

    Attributes:
        image_id: of the manifest.
        subtype: of the manifest.
        image: uint8, (S, S).
        box: rows and columns of the square that the image fills.
        mask: of the opacity, bool, (S, S); None where unknown.
        explanations: by model.
    """

    image_id: str
    subtype: str
    image: NDArray[np.uint8]
    box: tuple[slice, slice]
    mask: NDArray[np.bool_] | None
    explanations: dict[str, Explanation]


# Label and decision, by outcome.
GROUPS = {
    "true_positive": (1, 1),
    "false_negative": (1, 0),
    "false_positive": (0, 1),
    "true_negative": (0, 0),
}


def pick(predictions: pd.DataFrame, threshold: float, images: int) -> dict[str, list[str]]:
    """Choose images of each outcome, from the most to the least confident at even steps.

    Args:
        predictions: one model's rows on one split.
        threshold: of its operating point.
        images: the largest number per group.

    Returns:
        image_ids by group; a group without images is empty.
    """
    decisions = (predictions["probability"] >= threshold).astype(int)
    # Ties, frequent at probabilities of almost 1, are ordered by image_id.
    ordered = predictions.assign(
        decision=decisions, confidence=(predictions["probability"] - threshold).abs()
    ).sort_values(["confidence", "image_id"], ascending=[False, True])
    picked = {}
    for group, (label, decision) in GROUPS.items():
        rows = ordered[(ordered["label"] == label) & (ordered["decision"] == decision)]
        places = np.linspace(0, len(rows) - 1, min(images, len(rows))).round().astype(int)
        picked[group] = rows["image_id"].iloc[places].tolist()
    return picked


def exhibits(
    images: MaskedImages,
    models: dict[str, ExplainedModel],
    points: dict[str, OperatingPoint],
    predictions: pd.DataFrame,
    better: str,
    count: int,
) -> dict[str, list[Exhibit]]:
    """The galleries by outcome.

    Args:
        images: of test.
        models: by name.
        points: by name of the model.
        predictions: predictions.csv of `evaluate`.
        better: the model whose decisions define the groups.
        count: images per group.
    """
    rows = predictions[(predictions["split"] == "test") & (predictions["model"] == better)]
    place = {image_id: row for row, image_id in enumerate(images.table["image_id"])}

    def exhibit(image_id: str) -> Exhibit:
        row = place[image_id]
        explanations = {
            name: Explanation(
                float(points[name].probability(model.logits[row])), points[name].threshold,
                model.maps[row], model.against[row], model.scale,
            )
            for name, model in models.items()
        }  # fmt: skip
        subtype = str(images.table["subtype"].iloc[row])
        pixels = images.images[row, ..., 0]
        return Exhibit(
            image_id, subtype, pixels, images.boxes[row], images.masks[row], explanations
        )

    picked = pick(rows, points[better].threshold, count)
    return {group: [exhibit(image_id) for image_id in ids] for group, ids in picked.items()}


def write_exhibits(path: Path, galleries: dict[str, list[Exhibit]]) -> None:
    """Write the galleries as an .npz file without pickles; the same bytes for the same galleries.

    Raises:
        ValueError: all galleries are empty.
    """
    shown = [(group, exhibit) for group, images in galleries.items() for exhibit in images]
    groups, images = zip(*shown, strict=True)
    models = list(images[0].explanations)
    masks = [image.mask for image in images]
    arrays: dict[str, Any] = {
        "models": np.array(models),
        "group": np.array(groups),
        "image_id": np.array([image.image_id for image in images]),
        "subtype": np.array([image.subtype for image in images]),
        "image": np.stack([image.image for image in images]),
        "box": np.array([[(side.start, side.stop) for side in image.box] for image in images]),
        "has_mask": np.array([mask is not None for mask in masks]),
        "mask": np.stack(
            [np.zeros(images[0].image.shape, bool) if mask is None else mask for mask in masks]
        ),
    }
    for model in models:
        answers = [image.explanations[model] for image in images]
        for name in Explanation.__dataclass_fields__:
            arrays[f"{model}_{name}"] = np.stack([getattr(answer, name) for answer in answers])
    with path.open("wb") as file:
        np.savez(file, **arrays)


def read_exhibits(path: Path) -> dict[str, list[Exhibit]]:
    """Read the galleries that `write_exhibits` wrote."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    galleries: dict[str, list[Exhibit]] = {group: [] for group in GROUPS}
    for row, group in enumerate(arrays["group"]):
        explanations = {
            str(model): Explanation(
                probability=float(arrays[f"{model}_probability"][row]),
                threshold=float(arrays[f"{model}_threshold"][row]),
                heat_map=arrays[f"{model}_heat_map"][row],
                against=arrays[f"{model}_against"][row],
                scale=float(arrays[f"{model}_scale"][row]),
            )
            for model in arrays["models"]
        }
        rows, columns = (slice(int(start), int(stop)) for start, stop in arrays["box"][row])
        galleries[str(group)].append(
            Exhibit(
                image_id=str(arrays["image_id"][row]),
                subtype=str(arrays["subtype"][row]),
                image=arrays["image"][row],
                box=(rows, columns),
                mask=arrays["mask"][row] if arrays["has_mask"][row] else None,
                explanations=explanations,
            )
        )
    return galleries
