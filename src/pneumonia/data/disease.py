"""The phantom's opacities: which share of the lung's air is lost, and where disease took it.

Sick and normal lungs lose air alike at low spatial frequency: a normal patient gets the field of a
sick one, smoothed until no texture and no edge is left (a turned patient, a fold of skin, a shallow
breath). So nothing that a thumbnail shows tells pneumonia; fissures, patches, lines and air
bronchograms do.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from pneumonia.data.anatomy import Map, Projection, bronchial_tree, soft_step

_HAZE = 0.11  # standard deviation of the smoothing, chest units: 12 px of 224, an eighth is 28


@dataclass(frozen=True)
class Opacity:
    """What an image's lungs lose.

    lost: (H, W) float32, share of the air, 0 .. 0.95.
    mask: (H, W) bool, True where disease took it; nowhere in a normal image.
    pattern: "lobar" or "patchy" (bacteria), "interstitial" (virus), "none".
    grade: 0 subtle .. 1 obvious; 0 in a normal image.
    """

    lost: Map
    mask: NDArray[np.bool_]
    pattern: str
    grade: float


def opacity(
    rng: np.random.Generator,
    fine: np.random.Generator,
    subtype: str,
    body: dict[str, float],
    view: Projection,
    air: Map,
) -> Opacity:
    """Draw the opacity of an image, or the haze of a normal one, into lungs `air`, (H, W) 0 .. 1.

    Place, pattern and grade come from `rng`, the patient's; the texture from `fine`, the image's.
    """
    grade, kind = rng.uniform(0, 1), rng.random()
    focal = subtype == "bacteria" or (subtype == "normal" and kind < 0.5)
    if focal:
        pattern = "lobar" if rng.random() < 0.55 else "patchy"
        lost, extent = _focal(rng, fine, pattern, body, view)
    else:
        pattern = "interstitial"
        lost, extent = _interstitial(rng, fine, body, view)
    lost = np.clip(lost * (0.75 + 0.25 * grade), 0, 0.95).astype(np.float32)
    if subtype == "normal":
        sigma = _HAZE * view.scale
        taken = gaussian_filter(air * lost, sigma, mode="constant", truncate=3)
        had = gaussian_filter(air, sigma, mode="constant", truncate=3)
        haze = taken / np.maximum(had, 0.02)
        return Opacity(haze, np.zeros(air.shape, dtype=np.bool_), "none", 0.0)
    added = extent * np.minimum(air * 2, 1)
    mask = (added > 0.3 * added.max()) & (air > 0.08)
    return Opacity(lost, mask, pattern, grade)


def _focal(
    rng: np.random.Generator,
    fine: np.random.Generator,
    pattern: str,
    body: dict[str, float],
    view: Projection,
) -> tuple[Map, Map]:
    """One lung's consolidation with air bronchograms: share lost, and extent (0 .. 1), (H, W).

    Lobar: a fissure bounds it, a straight and sharp edge. Patchy: foci that run together.
    """
    x, y = view.x, view.y
    sign = float(rng.choice((-1.0, 1.0)))
    out = rng.uniform(0.48, 0.60) + 0.04 * sign  # further out where the heart lies
    centre = sign * body["wide"] * out, rng.uniform(-0.36, 0.24)
    reach = rng.uniform(0.33, 0.46), rng.uniform(0.31, 0.44)
    ball = np.hypot((x - centre[0]) / reach[0], (y - centre[1]) / reach[1])
    extent = soft_step((1 - ball + 0.22 * view.grain(fine, 2, 9)) / 0.13)
    acini = soft_step(2.4 * view.grain(fine, 14, 40) + 1.8 * view.grain(fine, 40, 72))
    if pattern == "lobar":
        below = float(rng.choice((-1.0, 1.0)))
        line = centre[1] - 0.3 * below * reach[1] + rng.uniform(-0.3, 0.3) * (x - centre[0])
        extent *= soft_step(below * (y - line) / 0.008)
        filled = extent * (0.16 + 0.78 * acini)
    else:
        foci = soft_step((view.grain(fine, 6, 14) - 0.1) / 0.16)
        extent = extent * (0.35 + 0.65 * foci)
        filled = extent * foci * (0.20 + 0.78 * acini)
    bronchi = view.strokes(bronchial_tree(rng, body, trunks=5))
    return filled * (1 - 0.8 * np.minimum(2.4 * bronchi, 1)), extent


def _interstitial(
    rng: np.random.Generator, fine: np.random.Generator, body: dict[str, float], view: Projection
) -> tuple[Map, Map]:
    """Lines, nets and cuffed bronchi around both hila: share lost, and extent (0 .. 1), (H, W)."""
    hilum = 0.22 * body["wide"] + 0.06, rng.uniform(-0.08, 0.08)
    ball = np.hypot((np.abs(view.x) - hilum[0]) / rng.uniform(0.34, 0.5), (view.y - hilum[1]) / 0.5)
    extent = soft_step((1 - ball + 0.22 * view.grain(fine, 2, 9)) / 0.13)
    net = np.exp(-((view.grain(fine, 28, 68) / 0.3) ** 2))
    net *= 0.45 + 0.55 * soft_step(2 * view.grain(fine, 12, 40))  # broken lines, not a foam
    cuffs = view.strokes(bronchial_tree(rng, body, trunks=10))
    cuffs = gaussian_filter(cuffs, 0.005 * view.scale)
    patches = 0.65 + 0.35 * soft_step(3 * view.grain(fine, 8, 16))
    return extent * patches * (0.10 + 0.95 * net + 0.6 * cuffs), extent
