"""A heat map laid over its film."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Inferno (Smith & van der Walt 2015) at nine even steps: perceptually uniform, readable by
# colour-blind people and in grey. Written out so that serving needs no plotting library.
_INFERNO = np.array(
    [
        (0, 0, 4),
        (31, 12, 72),
        (85, 15, 109),
        (136, 34, 106),
        (186, 54, 85),
        (227, 89, 51),
        (249, 140, 10),
        (249, 201, 50),
        (252, 255, 164),
    ],
    dtype=np.float64,
)


def colour(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Inferno of values 0 to 1, any shape: uint8, (..., 3)."""
    steps = np.linspace(0, 1, len(_INFERNO))
    channels = [np.interp(values, steps, _INFERNO[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def overlay(
    film: NDArray[np.uint8], heat_map: NDArray[np.float32], scale: float, opacity: float = 0.6
) -> NDArray[np.uint8]:
    """Lay a class activation map over its film.

    The map is drawn on a fixed scale, and its opacity grows with it, so that the film stays
    readable where nothing was found.

    Args:
        film: uint8, (S, S).
        heat_map: float32, (h, w), not negative.
        scale: value shown as the hottest colour, above 0.
        opacity: there, 0 to 1.

    Returns:
        uint8, (S, S, 3).
    """
    heat = smooth(heat_map, film.shape[0]) / scale
    heat = np.clip(heat, 0, 1)[..., None]
    alpha = opacity * heat
    mixed = (1 - alpha) * film[..., None] + alpha * colour(heat[..., 0])
    return mixed.round().astype(np.uint8)


def heat_layer(heat_map: NDArray[np.float32], scale: float, side: int) -> NDArray[np.uint8]:
    """A class activation map to lay over its film, as `overlay` does at opacity 1.

    Args:
        heat_map: float32, (h, w), not negative.
        scale: value shown as the hottest colour, above 0.
        side: of the film, px.

    Returns:
        uint8, (side, side, 4): colour, and an opacity that grows with the heat.
    """
    heat = np.clip(smooth(heat_map, side) / scale, 0, 1)
    alpha = (255 * heat[..., None]).round().astype(np.uint8)
    return np.concatenate([colour(heat), alpha], axis=-1)


def smooth(heat_map: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Enlarge a map (h, w) to (side, side), bicubic, not negative, float32."""
    image = Image.fromarray(heat_map.astype(np.float32))
    enlarged = np.asarray(image.resize((side, side), Image.Resampling.BICUBIC))
    return np.maximum(enlarged, 0)
