"""Which images a report shows: picked by a rule, so that nobody picks the pretty ones."""

from __future__ import annotations

import numpy as np
import pandas as pd

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
