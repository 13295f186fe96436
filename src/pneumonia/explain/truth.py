"""Numbers on heat maps: against the border, and against masks where they are known."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pneumonia.explain.overlay import smooth

BORDER = 0.1  # width of the border frame, share of the side


def energy_inside(heat_map: NDArray[np.float32], mask: NDArray[np.bool_]) -> float:
    """Share of a map's sum inside the mask (the energy-based pointing game, Wang et al. 2020).

    Args:
        heat_map: float32, (h, w), not negative.
        mask: bool, (S, S).

    Returns:
        0 to 1; 0 for a map that is zero everywhere.
    """
    heat = smooth(heat_map, mask.shape[0])
    total = float(heat.sum())
    return float(heat[mask].sum()) / total if total > 0 else 0.0


def hits(heat_map: NDArray[np.float32], mask: NDArray[np.bool_]) -> bool:
    """Whether the hottest point lies inside the mask (the pointing game, Zhang et al. 2018)."""
    heat = smooth(heat_map, mask.shape[0])
    return bool(heat.max() > 0 and mask[np.unravel_index(heat.argmax(), heat.shape)])


def border_frame(side: int) -> NDArray[np.bool_]:
    """The outer tenth on every edge, where there is rarely lung: bool, (side, side)."""
    frame = np.ones((side, side), bool)
    width = round(BORDER * side)
    frame[width : side - width, width : side - width] = False
    return frame


def score_maps(
    maps: NDArray[np.float32], masks: list[NDArray[np.bool_] | None], side: int
) -> dict[str, float]:
    """Mean figures of the maps of pneumonia films.

    Args:
        maps: float32, (N, h, w).
        masks: of the same films, bool, (side, side); None where the truth is unknown.
        side: of the films, px.

    Returns:
        empty_maps, the share of maps that are zero everywhere; border_energy of the others (0 if
        there are none) and border_area, what a map without knowledge would score there; and where
        any mask is known energy_inside, pointing_game and mask_area, likewise. An empty map counts
        as a miss in those two.
    """
    border = border_frame(side)
    alive = [one for one in maps if one.max() > 0]
    figures = {
        "empty_maps": 1 - len(alive) / len(maps),
        "border_energy": float(np.mean([energy_inside(one, border) for one in alive] or [0.0])),
        "border_area": float(border.mean()),
    }
    known = [(one, mask) for one, mask in zip(maps, masks, strict=True) if mask is not None]
    if known:
        figures |= {
            "energy_inside": float(np.mean([energy_inside(*pair) for pair in known])),
            "pointing_game": float(np.mean([hits(*pair) for pair in known])),
            "mask_area": float(np.mean([mask.mean() for _, mask in known])),
        }
    return figures
