"""A heat map laid over its image."""

from __future__ import annotations

from functools import lru_cache

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
STEPS = 255  # of heat that are told apart in a picture


def colour(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Inferno of values 0 to 1, any shape: uint8, (..., 3)."""
    steps = np.linspace(0, 1, len(_INFERNO))
    channels = [np.interp(values, steps, _INFERNO[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def overlay(
    image: NDArray[np.uint8], heat_map: NDArray[np.float32], scale: float, opacity: float = 0.6
) -> NDArray[np.uint8]:
    """Lay a class activation map over its image.

    The map is drawn on a fixed scale, and its opacity grows with it, so that the image stays
    readable where nothing was found.

    Args:
        image: uint8, (S, S).
        heat_map: float32, (h, w), not negative.
        scale: value shown as the hottest colour, above 0.
        opacity: there, 0 to 1.

    Returns:
        uint8, (S, S, 3).
    """
    heat = _steps(smooth(heat_map * np.float32(STEPS / scale), image.shape[0]))
    # Every step of heat on every grey of the image is mixed once; a picture is looked up.
    return _mixed(opacity).take(heat << 8 | image).view(np.uint8).reshape(*image.shape, 3)


def _steps(heat: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Heat in steps to whole ones, of which the last one is all that is hotter."""
    return (np.clip(heat, 0, STEPS) + np.float32(0.5)).astype(np.uint16)


@lru_cache(maxsize=4)
def _mixed(opacity: float) -> NDArray[np.void]:
    """RGB, three bytes an element, at [step << 8 | grey]."""
    heat = (np.arange(STEPS + 1) / STEPS)[:, None]
    alpha, grey = opacity * heat[..., None], np.arange(256)[:, None]
    mixed = (1 - alpha) * grey + alpha * colour(heat)
    return mixed.round().astype(np.uint8).view("V3").reshape(-1)


def heat_layer(
    heat_map: NDArray[np.float32], scale: float, side: int, cells: bool = False
) -> NDArray[np.uint8]:
    """A map to lay over its image: the hotter, the less transparent.

    Args:
        heat_map: float32, (h, w), not negative.
        scale: value shown as the hottest colour, opaque; above 0.
        side: of the image, px.
        cells: draw the grid as it is, opaque, not smoothed.

    Returns:
        uint8, (side, side, 4), RGBA.
    """
    in_steps = heat_map * np.float32(STEPS / scale)
    heat = _cells(in_steps, side) if cells else smooth(in_steps, side)
    steps = np.arange(STEPS + 1)
    alpha = np.full_like(steps, 255) if cells else steps
    look = np.column_stack([colour(steps / STEPS), alpha.astype(np.uint8)])
    return look[_steps(heat)]


def heat_scale(maps: NDArray[np.float32]) -> float:
    """What is drawn as the hottest colour: the median of the hottest cells of maps (N, h, w).

    Of the images of PNEUMONIA in validation it is one scale for every image. 1 where it would be 0.
    """
    scale = float(np.median(maps.max(axis=(1, 2))))
    return scale if scale > 0 else 1.0


def _cells(heat_map: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    image = Image.fromarray(heat_map.astype(np.float32))
    return np.asarray(image.resize((side, side), Image.Resampling.NEAREST))


def smooth(heat_map: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Enlarge a map (h, w) to (side, side), bicubic, not negative, float32."""
    down, across = (_bicubic(cells, side) for cells in heat_map.shape)
    return np.clip(down @ heat_map.astype(np.float32) @ across.T, 0, None)


@lru_cache(maxsize=16)
def _bicubic(cells: int, side: int) -> NDArray[np.float32]:
    """What Pillow's bicubic enlargement multiplies a column of cells by: float32, (side, cells).

    Two products with small matrices take a fifth of the time of Pillow's own passes.
    """
    unit = Image.fromarray(np.eye(cells, dtype=np.float32))
    return np.asarray(unit.resize((cells, side), Image.Resampling.BICUBIC)).copy()
