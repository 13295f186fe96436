"""Measure the energy of heat maps on the border, and inside the masks if these are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumonia.inference.overlay import smooth

BORDER = 0.1  # width of the border frame, as a share of the image's sides
Box = tuple[slice, slice]  # rows and columns of the square that the image fills


def energy_inside(heat: NDArray[np.float32], region: NDArray[np.bool_]) -> float:
    """The share of a map's sum inside a region (energy-based pointing game, Wang et al. 2020).

    The share is 0 to 1, and 0 if the map is zero everywhere. `heat` has the size of the image and
    is not negative.
    """
    total = float(heat.sum())
    return float(heat[region].sum()) / total if total > 0 else 0.0


def hits(heat: NDArray[np.float32], region: NDArray[np.bool_]) -> bool:
    """Whether the hottest point lies inside a region (the pointing game, Zhang et al. 2018)."""
    return bool(heat.max() > 0 and region[np.unravel_index(heat.argmax(), heat.shape)])


def border_frame(height: int, width: int) -> NDArray[np.bool_]:
    """The outer tenth at each edge of an image, which rarely shows lung: bool, (H, W)."""
    frame = np.ones((height, width), bool)
    down, right = round(BORDER * height), round(BORDER * width)
    frame[down : height - down, right : width - right] = False
    return frame


def other_patients(patients: NDArray[np.str_]) -> NDArray[np.int64]:
    """The row of the next image of another patient for each image, (N,); else its own row.

    These images are controls: the map of another patient's image says nothing about this image.
    """
    rows = np.arange(len(patients))
    chosen = rows.copy()
    for row, patient in enumerate(patients):
        following = np.roll(rows, -row)
        others = following[patients[following] != patient]
        chosen[row] = others[0] if len(others) else row
    return chosen


def score_maps(
    maps: NDArray[np.float32], other_maps: NDArray[np.float32],
    masks: list[NDArray[np.bool_] | None], boxes: list[Box], side: int,
) -> pd.DataFrame:  # fmt: skip
    """Measure where each map's energy lies within the image, without the padding.

    Args:
        maps: float32, (N, h, w).
        other_maps: the controls, which are maps of the images that `other_patients` chose.
        masks: the masks of the images, bool, (side, side); None if unknown.
        side: the side of the squares, px.

    Returns:
        One row per image: `empty` (1 if the map is zero everywhere), `border_energy`, and
        `border_area`, the border energy of a uniform map. The others are NaN without a mask:
        `energy_inside`, `pointing_game` (0 or 1; 0 for an empty map), `mask_area`, and for the
        other image's map `other_energy_inside` and `other_pointing_game`.
    """
    rows = []
    for cells, other_cells, mask, box in zip(maps, other_maps, masks, boxes, strict=True):
        heat, other = smooth(cells, side)[box], smooth(other_cells, side)[box]
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
                "other_energy_inside": energy_inside(other, inside),
                "other_pointing_game": float(hits(other, inside)),
                "mask_area": inside.mean(),
            }
        rows.append(row)
    return pd.DataFrame(rows)
