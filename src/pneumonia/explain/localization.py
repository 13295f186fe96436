"""Where the energy of heat maps lies: on the border, and inside masks where they are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumonia.inference.overlay import smooth

BORDER = 0.1  # width of the border frame, share of the image's sides
Box = tuple[slice, slice]  # rows and columns of the square that the image fills


def energy_inside(heat: NDArray[np.float32], region: NDArray[np.bool_]) -> float:
    """Share of a map's sum inside a region (the energy-based pointing game, Wang et al. 2020).

    It is 0 to 1, and 0 for a map that is zero everywhere. `heat` has the image's size and is not
    negative.
    """
    total = float(heat.sum())
    return float(heat[region].sum()) / total if total > 0 else 0.0


def hits(heat: NDArray[np.float32], region: NDArray[np.bool_]) -> bool:
    """Whether the hottest point lies inside (the pointing game, Zhang et al. 2018)."""
    return bool(heat.max() > 0 and region[np.unravel_index(heat.argmax(), heat.shape)])


def border_frame(height: int, width: int) -> NDArray[np.bool_]:
    """The outer tenth at each edge of an image, where there is rarely lung: bool, (H, W)."""
    frame = np.ones((height, width), bool)
    down, right = round(BORDER * height), round(BORDER * width)
    frame[down : height - down, right : width - right] = False
    return frame


def other_patients(patients: NDArray[np.str_]) -> NDArray[np.int64]:
    """For each image the next image of another patient, (N,); the image itself if there is none.

    Control: the heat map of another patient's image contains nothing about this image.
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
    """Where each map's energy lies within the image. The padding around it is left out.

    Args:
        maps: float32, (N, h, w).
        other_maps: the maps of other patients' images, from `other_patients`; the control.
        masks: of the same images, bool, (side, side); None where unknown.
        side: of the squares, px.

    Returns:
        One row per image: `empty`, whether its map is zero everywhere; `border_energy`; and
        `border_area`, which is the border energy of a uniform map. Where the mask is known, else
        NaN: `energy_inside`, `pointing_game` (0 or 1), `other_energy_inside` and
        `other_pointing_game` of the other image's map, and `mask_area`. An empty map misses.
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
