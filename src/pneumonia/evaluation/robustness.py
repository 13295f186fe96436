"""What models keep when their films come from elsewhere: figures under every shift of the suite.

The hold-out saturates: on films of one hospital all good models reach the same AUC, and differ on
films of another. The suite stands in for the other hospital as far as one set of films can.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from pneumonia.evaluation.metrics import score
from pneumonia.evaluation.operating_point import OperatingPoint
from pneumonia.evaluation.shifts import SHIFTS, STRENGTHS, shifted
from pneumonia.predictor import Graph

METRICS = ("auc", "sensitivity", "specificity")
UNSHIFTED = "none"
# Counted among the worst cases, but not in the mean that models are chosen by: an inverted film is
# to be put right by whoever reads it, and a model's luck with it would outweigh all the rest.
NOT_IN_MEAN = "inversion"


def measure(
    graphs: dict[str, Graph],
    points: dict[str, OperatingPoint],
    rows: pd.DataFrame,
    images: NDArray[np.uint8],
    films: int,
    seed: int,
) -> pd.DataFrame:
    """Score graphs on films of each split, unshifted and under each shift at each strength.

    Every graph sees the same shifted films; a film is shifted once.

    Args:
        graphs: by model.
        points: where each model decides, fixed on unshifted validation films.
        rows: of the manifest; `image_id`, `patient_id`, `split` and `label` are used.
        images: uint8, (N, S, S, 1), of those rows.
        films: of each split that are taken, about; see `draw`.
        seed: of that draw and of the shifts.

    Returns:
        a row a model, split and condition, sorted by model and split: model, split, shift,
        strength, films, auc, sensitivity, specificity. The unshifted films come first in each
        group, with shift and strength "none".
    """
    drawn = draw(rows, films, seed)
    rows, images = rows[drawn], images[drawn]
    ids = rows["image_id"].tolist()
    conditions = [(UNSHIFTED, UNSHIFTED)]
    conditions += [(shift, strength) for shift, spec in SHIFTS.items() for strength in spec.amounts]
    found: list[dict[str, Any]] = []
    # One condition after the other: ONNX Runtime keeps all cores busy, and takes ten times as long
    # as shifting does.
    for shift, strength in tqdm(conditions, desc="shifts", unit="shift", disable=None):
        seen = images if shift == UNSHIFTED else shifted(images, ids, shift, strength, seed)
        for model, graph in graphs.items():
            logits, _ = graph.run(seen)
            probability = points[model].probability(logits)
            for split in rows["split"].unique():
                part = (rows["split"] == split).to_numpy()
                labels = rows["label"].to_numpy()[part]
                threshold = points[model].threshold
                figures = score(labels, probability[part], threshold, ranking=logits[part])
                what = {"model": model, "split": split, "shift": shift, "strength": strength}
                counted = {"films": int(part.sum())}
                found.append(what | counted | {metric: figures[metric] for metric in METRICS})
    return pd.DataFrame(found).sort_values(["model", "split"], kind="stable", ignore_index=True)


def draw(rows: pd.DataFrame, films: int, seed: int) -> NDArray[np.bool_]:
    """Which films to shift: about `films` of each split, all of a split that has no more.

    Whole patients are drawn at random, of each label until it has its share; the last one may
    exceed it.
    """
    drawn = np.zeros(len(rows), np.bool_)
    for _, split in rows.groupby("split"):
        for _, same in split.groupby("label"):
            quota = len(same) * min(1, films / len(split))
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
        films; `unshifted` and `mean` (over all shifts and strengths but inversion), each with auc,
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
        "films": int(plain["films"]),
        "unshifted": {metric: float(plain[metric]) for metric in METRICS},
        "mean": {metric: float(graded[metric].mean()) for metric in METRICS},
        "worst": worst,
    }
