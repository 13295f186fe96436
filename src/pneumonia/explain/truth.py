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
    """The outer tenth on every edge, where no lung is: bool, (side, side)."""
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
        border_energy (0.36 of the area is border: a map that ignores the film scores that), and
        where any mask is known energy_inside, pointing_game and mask_area, the share of the film
        that the masks cover, which is what a map without knowledge would score.
    """
    border = border_frame(side)
    figures = {"border_energy": float(np.mean([energy_inside(one, border) for one in maps]))}
    known = [(one, mask) for one, mask in zip(maps, masks, strict=True) if mask is not None]
    if known:
        figures |= {
            "energy_inside": float(np.mean([energy_inside(*pair) for pair in known])),
            "pointing_game": float(np.mean([hits(*pair) for pair in known])),
            "mask_area": float(np.mean([mask.mean() for _, mask in known])),
        }
    return figures
