"""What models keep when their images come from elsewhere: figures under every shift of the suite.

The hold-out saturates: on images of one hospital all good models reach the same AUC, and differ on
images of another. The suite stands in for the other hospital as far as one set of images can.
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
# Counted among the worst cases, but not in the mean that models are chosen by: an inverted image is
# to be put right by whoever reads it, and a model's luck with it would outweigh all the rest.
NOT_IN_MEAN = "inversion"
# What happens between two images and between two hospitals; strong shifts are the limits of the
# readable, and a threshold that gave way to them would be worse for ordinary images.
POOLED = ("mild", "medium")


@dataclass(frozen=True)
class ShiftedLogits:
    """What graphs answer to images, unshifted and under each shift at each strength.

    Attributes:
        rows: of the manifest, n images, those that `draw` took.
        conditions: C pairs of shift and strength; the first is unshifted, "none" and "none".
        logits: by model, float32, (C, n).
    """

    rows: pd.DataFrame
    conditions: list[tuple[str, str]]
    logits: dict[str, NDArray[np.float32]]


def shifted_logits(
    graphs: dict[str, Graph],
    unshifted: dict[str, NDArray[np.float32]],
    rows: pd.DataFrame,
    images: NDArray[np.uint8],
    count: int,
    seed: int,
) -> ShiftedLogits:
    """Run graphs on images of each split under each shift at each strength.

    Every graph sees the same shifted images; an image is shifted once.

    Args:
        graphs: by model.
        unshifted: by model, what its graph answers to `images`, (N,).
        rows: of the manifest; `image_id`, `patient_id`, `split` and `label` are used.
        images: uint8, (N, S, S, 1), of those rows.
        count: images of each split that are taken, about; see `draw`.
        seed: of that draw and of the shifts.
    """
    drawn = draw(rows, count, seed)
    images, ids = images[drawn], rows.loc[drawn, "image_id"].tolist()
    conditions = [(shift, strength) for shift, spec in SHIFTS.items() for strength in spec.amounts]
    found = {model: [unshifted[model][drawn]] for model in graphs}
    # One condition after the other: ONNX Runtime keeps all cores busy, and takes ten times as long
    # as shifting does.
    for shift, strength in tqdm(conditions, desc="shifts", unit="shift", disable=None):
        seen = shifted(images, ids, shift, strength, seed)
        for model, graph in graphs.items():
            found[model].append(graph.run(seen)[0])
    return ShiftedLogits(
        rows[drawn],
        [(UNSHIFTED, UNSHIFTED), *conditions],
        {model: np.stack(logits) for model, logits in found.items()},
    )


def pool(seen: ShiftedLogits, model: str) -> Pool:
    """Validation images to choose a threshold on: unshifted and under the milder shifts.

    Of the images of `seen`, so of a draw where validation is large. Taken are the unshifted images
    and those under every shift but inversion at the strengths `POOLED`; each version counts alike,
    and each image 1 in all.
    """
    taken = [
        shift != NOT_IN_MEAN and strength in (UNSHIFTED, *POOLED)
        for shift, strength in seen.conditions
    ]
    is_val = (seen.rows["split"] == "val").to_numpy()
    logits = seen.logits[model][np.array(taken)][:, is_val]
    labels = np.tile(seen.rows["label"].to_numpy()[is_val], len(logits))
    return Pool(labels, logits.ravel(), np.full(logits.size, 1 / len(logits)))


def measure(seen: ShiftedLogits, points: dict[str, OperatingPoint]) -> pd.DataFrame:
    """Score each model on each split under each condition.

    Args:
        seen: from `shifted_logits`.
        points: where each model decides, the same under every condition.

    Returns:
        a row a model, split and condition, sorted by model and split: model, split, shift,
        strength, images, auc, sensitivity, specificity. The unshifted images come first in each
        group, with shift and strength "none".
    """
    found: list[dict[str, Any]] = []
    for place, (shift, strength) in enumerate(seen.conditions):
        for model, logits in seen.logits.items():
            called = points[model].probability(logits[place]) >= points[model].threshold
            for split in seen.rows["split"].unique():
                part = (seen.rows["split"] == split).to_numpy()
                labels = seen.rows["label"].to_numpy()[part]
                auc, _ = ranked(labels, logits[place][part], np.ones((1, len(labels))))
                found.append(
                    {
                        "model": model,
                        "split": split,
                        "shift": shift,
                        "strength": strength,
                        "images": int(part.sum()),
                        "auc": float(auc[0]),
                        "sensitivity": float(called[part][labels == 1].mean()),
                        "specificity": float((~called[part])[labels == 0].mean()),
                    }
                )
    return pd.DataFrame(found).sort_values(["model", "split"], kind="stable", ignore_index=True)


def draw(rows: pd.DataFrame, images: int, seed: int) -> NDArray[np.bool_]:
    """Which images to shift: about `images` of each split, all of a split that has no more.

    Whole patients are drawn at random, of each label until it has its share; the last one may
    exceed it.
    """
    drawn = np.zeros(len(rows), np.bool_)
    for _, split in rows.groupby("split"):
        for _, same in split.groupby("label"):
            quota = len(same) * min(1, images / len(split))
            patients = np.unique(same["patient_id"].to_numpy(dtype=str))
            order = np.random.default_rng(seed).permutation(patients)
            counts = same["patient_id"].value_counts()[order].to_numpy()
            before = np.cumsum(counts) - counts
            taken = same["patient_id"].isin(order[before < quota])
            drawn |= rows.index.isin(same.index[taken])
    return drawn


def summary(table: pd.DataFrame, model: str, split: str) -> dict[str, Any]:
    """What matters in the rows of one model and split.

    Args:
        table: from `measure`.
        model: one of its models.
        split: one of its splits.

    Returns:
        images; `unshifted` and `mean` (over all shifts and strengths but inversion), each with auc,
        sensitivity and specificity; and `worst`, by strength: of each of the three the lowest, as
        `auc_shift` the shift where it occurs (the first of equals), and as `auc_change` its
        difference to unshifted, below 0 for a loss.
    """
    rows = table[(table["model"] == model) & (table["split"] == split)]
    is_plain = rows["shift"] == UNSHIFTED
    plain, changed = rows[is_plain].iloc[0], rows[~is_plain]
    graded = changed[changed["shift"] != NOT_IN_MEAN]
    worst: dict[str, dict[str, Any]] = {}
    for strength in STRENGTHS:
        at = changed[changed["strength"] == strength].set_index("shift")
        worst[strength] = {}
        for metric in METRICS:
            shift = str(at[metric].idxmin())
            lowest = float(at[metric].min())
            worst[strength] |= {
                metric: lowest,
                f"{metric}_shift": shift,
                f"{metric}_change": lowest - float(plain[metric]),
            }
    return {
        "images": int(plain["images"]),
        "unshifted": {metric: float(plain[metric]) for metric in METRICS},
        "mean": {metric: float(graded[metric].mean()) for metric in METRICS},
        "worst": worst,
    }
