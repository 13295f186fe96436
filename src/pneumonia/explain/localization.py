"""Where the energy of heat maps lies: on the image's border, and in masks where they are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumonia.inference.overlay import smooth

BORDER = 0.1  # width of the border frame, share of the image's sides
Box = tuple[slice, slice]  # rows and columns of the square that the image fills


def energy_inside(heat: NDArray[np.float32], region: NDArray[np.bool_]) -> float:
    """Share of a map's sum inside a region (the energy-based pointing game, Wang et al. 2020).

    Args:
        heat: of the image's size, float32, (H, W), not negative.
        region: bool, (H, W).

    Returns:
        0 to 1; 0 for a map that is zero everywhere.
    """
    total = float(heat.sum())
    return float(heat[region].sum()) / total if total > 0 else 0.0


def hits(heat: NDArray[np.float32], region: NDArray[np.bool_]) -> bool:
    """Whether the hottest point lies inside (the pointing game, Zhang et al. 2018)."""
    return bool(heat.max() > 0 and region[np.unravel_index(heat.argmax(), heat.shape)])


def border_frame(height: int, width: int) -> NDArray[np.bool_]:
    """The outer tenth on every edge of an image, where there is rarely lung: bool, (H, W)."""
    frame = np.ones((height, width), bool)
    down, right = round(BORDER * height), round(BORDER * width)
    frame[down : height - down, right : width - right] = False
    return frame


def strangers(patients: NDArray[np.str_]) -> NDArray[np.int64]:
    """For each image the next one of another patient, (N,); where there is none, the image itself.

    What a map has in common with theirs it does not know from its own image.
    """
    count = len(patients)
    found = np.arange(count)
    for row in range(count):
        following = (row + 1 + np.arange(count - 1)) % count
        others = following[patients[following] != patients[row]]
        found[row] = others[0] if len(others) else row
    return found


def score_maps(
    maps: NDArray[np.float32],
    others: NDArray[np.float32],
    masks: list[NDArray[np.bool_] | None],
    boxes: list[Box],
    side: int,
) -> pd.DataFrame:
    """Where each map's energy lies, within the image; the padding around it has no part.

    Args:
        maps: float32, (N, h, w).
        others: those of `strangers`, which know nothing of the image.
        masks: of the same images, bool, (side, side); None where the truth is unknown.
        boxes: of the same images.
        side: of the squares, px.

    Returns:
        a row an image: `empty`, whether its map is zero everywhere; `border_energy`, and
        `border_area`, what an even map has there; where the mask is known, else NaN,
        `energy_inside` and `pointing_game` (0 or 1), of the other image's map `other_energy_inside`
        and `other_pointing_game`, and `mask_area`. An empty map misses.
    """
    rows = []
    for one, other, mask, box in zip(maps, others, masks, boxes, strict=True):
        heat, foreign = smooth(one, side)[box], smooth(other, side)[box]
        frame = border_frame(*heat.shape)
        row = {
            "empty": float(heat.max() == 0),
            "border_energy": energy_inside(heat, frame),
            "border_area": frame.mean(),
        }
        if mask is not None:
            inside = mask[box]
            row |= {
                "energy_inside": energy_inside(heat, inside),
                "pointing_game": float(hits(heat, inside)),
                "other_energy_inside": energy_inside(foreign, inside),
                "other_pointing_game": float(hits(foreign, inside)),
                "mask_area": inside.mean(),
            }
        rows.append(row)
    return pd.DataFrame(rows)
