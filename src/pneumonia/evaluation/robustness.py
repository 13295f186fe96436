"""Score models under every shift of `evaluation.shifts`.

On held-out images of the same hospital, all good models reach about the same AUC, so these images
do not show which model is better. On images of another hospital, the models differ. The shifts
imitate images of another hospital as well as one data set allows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from pneumonia.evaluation.shifts import SHIFTS, STRENGTHS, shifted
from pneumonia.evaluation.threshold import Pool
from pneumonia.inference.operating_point import OperatingPoint
from pneumonia.inference.predictor import Graph
from pneumonia.stats.metrics import ranked

METRICS = ("auc", "sensitivity", "specificity")
UNSHIFTED = "none"
# Inversion counts for the worst case, but not for the mean that chooses the model. A reader should
# correct an inverted image, and random results on such images would outweigh all other shifts.
NOT_IN_MEAN = "inversion"
# Ordinary differences between two images or two hospitals. Strong shifts are left out: the images
# are hardly readable, and a threshold adapted to them would be worse for ordinary images.
POOLED = ("mild", "medium")


@dataclass(frozen=True)
class ShiftedLogits:
    """Logits of images, unshifted and under each shift at each strength."""

    rows: pd.DataFrame  #: the manifest's rows for the n images that `draw_images` chose
    #: C pairs of shift and strength; the first pair is ("none", "none"), for unshifted images.
    conditions: list[tuple[str, str]]
    logits: dict[str, NDArray[np.float32]]  #: float32, (C, n), by model


def shifted_logits(
    graphs: dict[str, Graph],
    unshifted: dict[str, NDArray[np.float32]],
    rows: pd.DataFrame,
    images: NDArray[np.uint8],
    count: int,
    seed: int,
) -> ShiftedLogits:
    """Run graphs on images of each split under each shift at each strength.

    Every graph gets the same shifted images; each image is shifted once.

    Args:
        unshifted: the logits of `images`, (N,), by model.
        rows: the manifest's rows, with `image_id`, `patient_id`, `split` and `label`.
        images: uint8, (N, S, S, 1), the images of `rows`.
        count: number of images per split, see `draw_images`.
    """
    drawn = draw_images(rows, count, seed)
    images, ids = images[drawn], rows.loc[drawn, "image_id"].tolist()
    conditions = [(shift, strength) for shift, spec in SHIFTS.items() for strength in spec.amounts]
    logits = {model: [unshifted[model][drawn]] for model in graphs}
    # Run one condition after another. ONNX Runtime uses all cores already, and the shifts take only
    # a tenth of its time.
    for shift, strength in tqdm(conditions, desc="shifts", unit="shift", disable=None):
        changed = shifted(images, ids, shift, strength, seed)
        for model, graph in graphs.items():
            logits[model].append(graph.run(changed)[0])
    return ShiftedLogits(
        rows[drawn],
        [(UNSHIFTED, UNSHIFTED), *conditions],
        {model: np.stack(of_conditions) for model, of_conditions in logits.items()},
    )


def draw_images(rows: pd.DataFrame, count: int, seed: int) -> NDArray[np.bool_]:
    """Choose the images to shift: about `count` of each split, or all of a smaller split.

    For each label, whole patients are drawn at random until the label has its share of the images.
    The last patient may exceed the share.

    Returns:
        a mask, (N,): True for each row that is drawn.
    """
    drawn = np.zeros(len(rows), np.bool_)
    for _, split in rows.groupby("split"):
        for _, same_label in split.groupby("label"):
            quota = len(same_label) * min(1, count / len(split))
            patients = np.unique(same_label["patient_id"].to_numpy(dtype=str))
            order = np.random.default_rng(seed).permutation(patients)
            sizes = same_label["patient_id"].value_counts()[order].to_numpy()
            images_before = np.cumsum(sizes) - sizes
            taken = same_label["patient_id"].isin(order[images_before < quota])
            drawn |= rows.index.isin(same_label.index[taken])
    return drawn


def threshold_pool(shifted: ShiftedLogits, model: str) -> Pool:
    """Collect the validation images on which a model's threshold is chosen.

    These are the unshifted images, and their versions under every shift except inversion, at the
    strengths in `POOLED`. The versions of one image have equal weights with the sum 1.
    """
    pooled = [
        shift != NOT_IN_MEAN and strength in (UNSHIFTED, *POOLED)
        for shift, strength in shifted.conditions
    ]
    is_val = (shifted.rows["split"] == "val").to_numpy()
    logits = shifted.logits[model][np.array(pooled)][:, is_val]
    labels = np.tile(shifted.rows["label"].to_numpy()[is_val], len(logits))
    return Pool(labels, logits.ravel(), np.full(logits.size, 1 / len(logits)))


def measure(shifted: ShiftedLogits, points: dict[str, OperatingPoint]) -> pd.DataFrame:
    """Score each model on each split under each condition.

    Returns:
        a table with one row per model, split and condition, sorted by model and split: model,
        split, shift, strength, images, auc, sensitivity, specificity. In each group, the row of the
        unshifted images is first; its shift and strength are "none".
    """
    results: list[tuple[object, ...]] = []
    for index, (shift, strength) in enumerate(shifted.conditions):
        for model, logits in shifted.logits.items():
            called = points[model].probability(logits[index]) >= points[model].threshold
            for split in shifted.rows["split"].unique():
                part = (shifted.rows["split"] == split).to_numpy()
                labels = shifted.rows["label"].to_numpy()[part]
                auc, _ = ranked(labels, logits[index][part], np.ones((1, len(labels))))
                sensitivity = float(called[part][labels == 1].mean())
                specificity = float((~called[part])[labels == 0].mean())
                row = model, split, shift, strength, len(labels)
                results.append((*row, float(auc[0]), sensitivity, specificity))
    columns = ["model", "split", "shift", "strength", "images", *METRICS]
    table = pd.DataFrame(results, columns=columns)
    return table.sort_values(["model", "split"], kind="stable", ignore_index=True)


def summary(table: pd.DataFrame, model: str, split: str) -> dict[str, Any]:
    """Summarise the rows of one model and split.

    Returns:
        `images`, `unshifted`, `mean` and `worst`. `unshifted` and `mean` (over all shifts except
        inversion, at all strengths) have auc, sensitivity and specificity. `worst` has, by
        strength, the lowest value of each metric; also, for example, `auc_shift`, the first shift
        with this value, and `auc_change`, its difference from unshifted (below 0 for a loss).
    """
    rows = table[(table["model"] == model) & (table["split"] == split)]
    is_unshifted = rows["shift"] == UNSHIFTED
    unshifted, changed = rows[is_unshifted].iloc[0], rows[~is_unshifted]
    averaged = changed[changed["shift"] != NOT_IN_MEAN]
    worst: dict[str, dict[str, Any]] = {}
    for strength in STRENGTHS:
        by_shift = changed[changed["strength"] == strength].set_index("shift")
        worst[strength] = {}
        for metric in METRICS:
            lowest = float(by_shift[metric].min())
            worst[strength] |= {
                metric: lowest,
                f"{metric}_shift": str(by_shift[metric].idxmin()),
                f"{metric}_change": lowest - float(unshifted[metric]),
            }
    return {
        "images": int(unshifted["images"]),
        "unshifted": {metric: float(unshifted[metric]) for metric in METRICS},
        "mean": {metric: float(averaged[metric].mean()) for metric in METRICS},
        "worst": worst,
    }
