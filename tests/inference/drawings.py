"""Images that are not chest X-rays, drawn from a generator: uint8, (H, W), about 256 px."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

Picture = NDArray[np.uint8]
SIDE = 256


def gradient(rng: Generator) -> Picture:
    x, y = _plane()
    angle = rng.uniform(0, 2 * np.pi)
    return _stretched(np.cos(angle) * x + np.sin(angle) * y)


def spot(rng: Generator) -> Picture:
    x, y = _plane()
    away = np.hypot(x - rng.uniform(-0.4, 0.4), y - rng.uniform(-0.4, 0.4))
    return _stretched(away * rng.choice([-1, 1]))


def checkerboard(rng: Generator) -> Picture:
    y, x = np.mgrid[:SIDE, :SIDE] // rng.integers(4, 32)
    return np.uint8(255) * ((x + y) % 2).astype(np.uint8)


def stripes(rng: Generator) -> Picture:
    x, y = _plane()
    angle = rng.uniform(0, np.pi)
    return _stretched(np.sin((np.cos(angle) * x + np.sin(angle) * y) * rng.uniform(5, 45)))


def noise(rng: Generator) -> Picture:
    return rng.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)


def clouds(rng: Generator) -> Picture:
    """Noise of a power law, as many natural textures have it."""
    across = np.fft.fftfreq(SIDE)
    frequency = np.hypot(across[:, None], across[None, :])
    frequency[0, 0] = 1
    spectrum = np.fft.fft2(rng.standard_normal((SIDE, SIDE)))
    return _stretched(np.fft.ifft2(spectrum / frequency ** rng.uniform(1, 1.8)).real)


def landscape(rng: Generator) -> Picture:
    """A sky with its sun, and three ranges of hills."""
    x, y = _plane()
    grey = 0.75 - 0.15 * y
    grey[np.hypot(x - rng.uniform(-0.8, 0.8), y - rng.uniform(-0.9, -0.5)) < 0.12] = 1
    for layer in range(3):
        waves = [
            rng.uniform(-0.12, 0.12) * np.sin(k * np.pi * x[0] + rng.uniform(0, 6))
            for k in range(1, 7)
        ]
        below = y > 0.3 * layer - 0.3 + sum(waves)
        texture = gaussian_filter(rng.standard_normal(x.shape), 1.5)
        grey = np.where(below, 0.6 - 0.2 * layer + 0.05 * texture, grey)
    return _stretched(grey)


def page(rng: Generator) -> Picture:
    """Lines of words, dark on white."""
    image = Image.new("L", (SIDE, SIDE * 13 // 10), 245)
    draw = ImageDraw.Draw(image)
    for top in range(12, image.height - 12, 11):
        left = 14
        while left < SIDE - 24 and rng.random() > 0.04:
            right = min(left + int(rng.integers(6, 34)), SIDE - 14)
            draw.rectangle((left, top, right, top + 5), fill=int(rng.integers(10, 60)))
            left = right + 6
    return np.asarray(image)


def hand(rng: Generator) -> Picture:
    """Flesh, and phalanges, metacarpals, carpals and two bones of the forearm in it."""
    image = Image.new("L", (SIDE, SIDE * 5 // 4), 8)
    draw = ImageDraw.Draw(image)
    size = np.array(image.size)

    def rod(start: NDArray[np.float64], end: NDArray[np.float64], wide: float, grey: int) -> None:
        a, b = start * size, end * size
        draw.line((*a, *b), fill=grey, width=round(wide * SIDE))
        for x, y in (a, b):
            r = wide * SIDE / 2
            draw.ellipse((x - r, y - r, x + r, y + r), fill=grey)

    wrist, palm = np.array([0.5, 0.97]), np.array([0.5, 0.74])
    rod(wrist, np.array([0.5, 0.8]), 0.24, 90)
    draw.ellipse((*(np.array([0.27, 0.48]) * size), *(np.array([0.73, 0.86]) * size)), fill=95)
    tips = np.array([(0.1, 0.45), (0.28, 0.16), (0.45, 0.08), (0.62, 0.13), (0.8, 0.27)])
    roots = np.array([(0.32, 0.68), (0.34, 0.52), (0.45, 0.49), (0.56, 0.5), (0.66, 0.55)])
    tips = tips + rng.uniform(-0.03, 0.03, tips.shape)
    for tip, root in zip(tips, roots, strict=True):
        rod(root, tip, 0.1, 90)
        joints = [
            palm + (root - palm) * 0.3,
            *(root + (tip - root) * t for t in (0, 0.45, 0.75, 1)),
        ]
        for a, b in pairwise(joints):
            rod(a + 0.1 * (b - a), b - 0.1 * (b - a), 0.035, 200)
    for x, y in rng.uniform((0.42, 0.76), (0.58, 0.84), (7, 2)):
        rod(np.array([x, y]), np.array([x, y]), 0.06, 190)
    for x in (0.44, 0.56):
        rod(np.array([x, 0.87]), np.array([x, 1.0]), 0.06, 200)
    return _exposed(np.asarray(image) / 255, rng)


def abdomen(rng: Generator) -> Picture:
    """Spine and pelvis in grey flesh, and gas in the bowel."""
    x, y = _plane()
    grey = 0.62 - np.maximum(np.abs(x) - 0.75, 0)
    grey += 0.22 * np.exp(-((x / 0.11) ** 2)) * (1 + 0.25 * np.sign(np.sin(22 * y)))
    for side in (-0.45, 0.45):
        grey += 0.18 * (np.hypot((x - side) / 0.4, (y - 0.95) / 0.35) < 1)
    for _ in range(rng.integers(6, 14)):
        at, radius = rng.uniform(-0.6, 0.6, 2), rng.uniform(0.06, 0.16)
        grey -= 0.25 * (np.hypot(x - at[0], 1.3 * (y - at[1])) < radius)
    return _exposed(grey, rng)


def skull(rng: Generator) -> Picture:
    """A frontal skull: vault, orbits, nose, teeth."""
    x, y = _plane()
    vault = np.hypot(x / rng.uniform(0.66, 0.76), y / 0.85)
    grey = 0.05 + 0.5 * (vault < 1) + 0.35 * (np.abs(vault - 0.96) < 0.05)
    for side in (-0.28, 0.28):
        grey -= 0.2 * (np.hypot(x - side, (y - 0.15) / 0.8) < 0.17)
    grey -= 0.2 * (np.hypot(2 * x, y - 0.4) < 0.12)
    grey += 0.25 * ((np.abs(y - 0.62) < 0.08) & (np.abs(x) < 0.3))
    return _exposed(grey, rng)


def limb(rng: Generator) -> Picture:
    """A long bone with its marrow, upright or a little askew, in flesh."""
    x, y = _plane()
    x = x + rng.uniform(-0.3, 0.3) * y
    shaft = np.abs(x) < 0.14 + 0.1 * np.maximum(np.abs(y) - 0.6, 0)
    grey = 0.04 + 0.35 * (np.abs(x) < 0.55 + 0.08 * y) + 0.4 * shaft - 0.15 * (np.abs(x) < 0.06)
    return _exposed(grey, rng)


DRAWINGS: dict[str, Callable[[Generator], Picture]] = {
    "gradient": gradient,
    "spot": spot,
    "checkerboard": checkerboard,
    "stripes": stripes,
    "noise": noise,
    "clouds": clouds,
    "landscape": landscape,
    "page of text": page,
    "hand": hand,
    "abdomen": abdomen,
    "skull": skull,
    "limb": limb,
}


def _plane() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coordinates of each pixel, -1 to 1: x to the right, y down."""
    y, x = np.mgrid[:SIDE, :SIDE] / (SIDE / 2) - 1
    return x, y


def _stretched(values: NDArray[np.float64]) -> Picture:
    """Over the whole grey range."""
    least, most = values.min(), values.max()
    return np.rint(255 * (values - least) / (most - least)).astype(np.uint8)


def _exposed(grey: NDArray[np.float64], rng: Generator) -> Picture:
    """As a detector gives it: blurred, with quantum noise; of grey 0 to 1."""
    seen = gaussian_filter(grey, 2) + rng.normal(0, 0.015, grey.shape)
    return np.rint(255 * np.clip(seen, 0, 1)).astype(np.uint8)
