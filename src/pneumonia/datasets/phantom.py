"""Synthetic chest X-rays: a small substitute for a collection of X-rays of children.

Every image is computed. Simple shapes (body, lungs, heart, ribs, vessels; see `phantom_anatomy`)
give a map of X-ray attenuation. Disease is added to the lungs. Then the map gets exposure, blur and
noise. So the whole pipeline runs without a download, and the true place of every opacity is known.

On average over large areas, lungs with and without pneumonia lose the same air. A normal patient
also gets an opacity, but without texture or edges: it is smoothed until it looks like the effect of
rotation, a fold of skin, or a shallow breath. So a thumbnail does not show pneumonia; only
fissures, patches, lines and air bronchograms do.

The phantom is *not* a source of medical knowledge. Nothing was fitted to patients, and scores on
these images say nothing about scores on radiographs.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from pneumonia.datasets.phantom_anatomy import (
    Map,
    Measures,
    Projection,
    Rng,
    bronchial_tree,
    chest,
    soft_step,
)

_HAZE = 0.11  # standard deviation of the smoothing in chest units; 12 px in an image of 224 px


@dataclass(frozen=True)
class Opacity:
    """The air that the lungs in an image lose."""

    lost: Map  #: float32, (H, W), lost share of the air, 0 to 0.95
    mask: NDArray[np.bool_]  #: bool, (H, W), True where disease is the cause; all False if normal
    pattern: str  #: lobar or patchy (bacteria), interstitial (virus), or none
    grade: float  #: how visible the disease is, 0 subtle to 1 obvious; 0 in a normal image


def _opacity(
    rng: Rng, fine: Rng, subtype: str, body: Measures, view: Projection, air: Map
) -> Opacity:
    """Draw the opacity of an image with disease, or the haze of a normal image.

    The patient's generator `rng` gives place, pattern and grade; the image's generator `fine` gives
    the texture. `air` is the share of air in the lungs: (H, W), 0 to 1.
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
        smoothed_loss = gaussian_filter(air * lost, sigma, mode="constant", truncate=3)
        smoothed_air = gaussian_filter(air, sigma, mode="constant", truncate=3)
        haze = smoothed_loss / np.maximum(smoothed_air, 0.02)
        return Opacity(haze, np.zeros(air.shape, dtype=np.bool_), "none", 0.0)
    added = extent * np.minimum(air * 2, 1)
    mask = (added > 0.3 * added.max()) & (air > 0.08)
    return Opacity(lost, mask, pattern, grade)


def _focal(rng: Rng, fine: Rng, pattern: str, body: Measures, view: Projection) -> tuple[Map, Map]:
    """Draw consolidation and air bronchograms in one lung: lost share, and extent (0 .. 1), (H, W).

    A lobar pattern has a straight sharp edge, the fissure. A patchy pattern has confluent foci.
    """
    x, y = view.x, view.y
    sign = float(rng.choice((-1.0, 1.0)))
    out = rng.uniform(0.48, 0.60) + 0.04 * sign  # on the side of the heart it lies further out
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


def _interstitial(rng: Rng, fine: Rng, body: Measures, view: Projection) -> tuple[Map, Map]:
    """Draw lines, nets and cuffs around both hila: lost share, and extent (0 .. 1), (H, W)."""
    hilum = 0.22 * body["wide"] + 0.06, rng.uniform(-0.08, 0.08)
    ball = np.hypot((np.abs(view.x) - hilum[0]) / rng.uniform(0.34, 0.5), (view.y - hilum[1]) / 0.5)
    extent = soft_step((1 - ball + 0.22 * view.grain(fine, 2, 9)) / 0.13)
    net = np.exp(-((view.grain(fine, 28, 68) / 0.3) ** 2))
    net *= 0.45 + 0.55 * soft_step(2 * view.grain(fine, 12, 40))  # broken lines, not closed cells
    cuffs = view.strokes(bronchial_tree(rng, body, trunks=10))
    cuffs = gaussian_filter(cuffs, 0.005 * view.scale)
    patches = 0.65 + 0.35 * soft_step(3 * view.grain(fine, 8, 16))
    return extent * patches * (0.10 + 0.95 * net + 0.6 * cuffs), extent


_CYCLE = (0, 1, 1, 2, 3, 3, 3)  # four patients with 1, 2, 1 and 3 images
_BLOCK = ("normal",) * 4 + ("bacteria",) * 3 + ("virus",) * 3
_SPLIT, _DIAGNOSIS, _ANATOMY, _VESSELS, _DISEASE, _IMAGE, _TEXTURE, _ASPECT = range(8)
_GOLDEN = (5**0.5 - 1) / 2

# A patient's measures are drawn uniformly from these: lengths, angles (radians), attenuations.
_PATIENT_RANGES = {
    "wide": (0.76, 0.96), "apex": (-0.74, -0.64), "dome": (0.30, 0.52), "dome_step": (0.02, 0.09),
    "dome_curve": (0.14, 0.28), "flesh": (0.07, 0.17), "heart_r": (0.30, 0.43),
    "heart_x": (0.08, 0.19), "heart_tilt": (0.45, 0.85), "med": (0.10, 0.165), "yaw": (-0.06, 0.06),
    "knob": (0.01, 0.05), "thymus": (-0.10, 0.14), "thymus_side": (-1.0, 1.0),
    "rib_step": (0.125, 0.16), "rib_drop": (0.05, 0.2), "rib_half": (0.16, 0.22),
    "rib_white": (0.06, 0.12), "air": (0.42, 0.64), "neck": (0.24, 0.32),
    "shoulder": (-0.78, -0.66), "marking": (0.6, 1.35), "bubble": (-0.6, 1.0),
    "clavicle_tilt": (-0.1, 0.3), "scapula": (0.0, 1.0), "ribs": (11.2, 13.2),
    "hila": (0.04, 0.10), "trachea": (0.036, 0.052),
}  # fmt: skip

# The measures of an image are drawn uniformly from these ranges.
_IMAGE_RANGES = {
    "zoom": (1.04, 1.26), "dx": (-0.05, 0.05), "dy": (-0.06, 0.08), "turn": (-0.06, 0.06),
    "breath": (-0.08, 0.05), "black": (0.02, 0.16), "white": (1.22, 1.6),
    "gamma": (0.8, 1.2), "noise": (0.004, 0.015), "blur": (0.45, 0.8), "vignette": (0.0, 0.12),
    "heel": (-0.07, 0.07), "arms": (-0.5, 1.1), "arms_differ": (-0.25, 0.25),
    "marker": (0.0, 1.0), "leads": (0.0, 1.0), "shutter": (0.0, 1.0), "lucency": (0.85, 1.1),
    "gas": (0.0, 1.0), "twist": (-0.03, 0.03), "tube": (0.0, 1.0),
}  # fmt: skip


@dataclass(frozen=True)
class Diagnosis:
    """The diagnosis of a patient."""

    subtype: str  #: normal, bacteria or virus
    number: int  #: the patient's number in the subtype, counted from 0 without gaps
    split: str  #: train or test


@dataclass(frozen=True)
class PhantomImage:
    """A synthetic image; see also `Diagnosis` and `Opacity`."""

    index: int  #: the image's number, counted from 0
    patient: int  #: the patient's number, from 0; a patient has one to three consecutive images
    label: int  #: 0 normal, 1 pneumonia
    subtype: str
    split: str
    pattern: str
    grade: float
    pixels: NDArray[np.uint8]  #: uint8, (H, W), 0 black to 255 white
    mask: NDArray[np.bool_]


def patient_of(index: int) -> int:
    """The number of the patient of image number `index`; both are counted from 0."""
    return 4 * (index // len(_CYCLE)) + _CYCLE[index % len(_CYCLE)]


def diagnosis_of(seed: int, patient: int) -> Diagnosis:
    """The diagnosis of patient number `patient`, counted from 0.

    Of every ten patients, four are normal, three bacterial and three viral; two of the ten are in
    the test set. So even small collections have these proportions.
    """
    block, place = divmod(patient, len(_BLOCK))
    order = np.random.default_rng([seed, block, _DIAGNOSIS]).permutation(len(_BLOCK))
    drawn = np.random.default_rng([seed, block, _SPLIT]).permutation(len(_BLOCK))
    subtype = _BLOCK[order[place]]
    before = sum(_BLOCK[other] == subtype for other in order[:place])
    number = block * _BLOCK.count(subtype) + before
    return Diagnosis(subtype, number, "test" if drawn[place] < 2 else "train")


def draw(
    seed: int, index: int, size: int = 224, subtype: str | None = None, strength: float = 1.0
) -> PhantomImage:
    """Draw an image; equal arguments give equal pixels.

    Args:
        seed: the collection's seed.
        index: the image's number in the collection, from 0.
        size: the shorter side, px, 64 or more; the longer side is at most 1.35 times as long.
        subtype: replaces the patient's subtype. Anatomy, exposure and proportions stay the same.
        strength: how much of the opacity is drawn, 0 (nothing) to 1.
    """
    patient = patient_of(index)
    diagnosis = diagnosis_of(seed, patient)
    subtype = subtype or diagnosis.subtype
    # Disease has its own generators. Otherwise the diagnosis would change the random numbers for
    # anatomy and exposure, and these could reveal the diagnosis.
    body = _uniform(np.random.default_rng([seed, patient, _ANATOMY]), _PATIENT_RANGES)
    rng = np.random.default_rng([seed, index, _IMAGE])
    shot = _uniform(rng, _IMAGE_RANGES) | {"aspect": _aspect(seed, index, diagnosis)}
    body["yaw"] += shot["twist"]
    view = Projection(size, body, shot)
    thickness, air, ribs = chest(body, shot, view, rng)
    disease = np.random.default_rng([seed, patient, _DISEASE])
    texture = np.random.default_rng([seed, index, _TEXTURE])
    opacity = _opacity(disease, texture, subtype, body, view, air)
    lost = strength * opacity.lost
    vessels = view.strokes(bronchial_tree(np.random.default_rng([seed, patient, _VESSELS]), body))
    vessels = 0.24 * gaussian_filter(vessels, 0.006 * view.scale) * np.minimum(air * 2.5, 1)
    # In disease, fluid replaces air. It can hide a vessel or a border, but the attenuation grows by
    # no more than the lost air explains.
    density = thickness - body["air"] * shot["lucency"] * air * (1 - lost)
    vessels += 0.012 * view.grain(rng, 20, 60) * air
    density += ribs + body["marking"] * vessels * (1 - lost)
    return PhantomImage(
        index=index,
        patient=patient,
        label=int(subtype != "normal"),
        subtype=subtype,
        split=diagnosis.split,
        pattern=opacity.pattern,
        grade=opacity.grade,
        pixels=_expose(density, body, shot, view, rng),
        mask=opacity.mask,
    )


def _aspect(seed: int, index: int, diagnosis: Diagnosis) -> float:
    """The width of an image divided by its height, 0.97 .. 1.35, spread evenly in each subtype.

    The padding to a square shows the aspect ratio. So the ratio must not differ between subtypes,
    even by chance. A golden-ratio sequence over the patients has no gaps and no clusters.
    """
    start = np.random.default_rng([seed, *diagnosis.subtype.encode(), _ASPECT]).random()
    image = _CYCLE[: index % len(_CYCLE)].count(_CYCLE[index % len(_CYCLE)])
    return float(0.97 + 0.38 * ((start + _GOLDEN * diagnosis.number + image / 3) % 1))


def _uniform(rng: Rng, ranges: dict[str, tuple[float, float]]) -> Measures:
    return {name: float(rng.uniform(*bounds)) for name, bounds in ranges.items()}


def _expose(
    density: Map, body: Measures, shot: Measures, view: Projection, rng: Rng
) -> NDArray[np.uint8]:
    """Turn attenuation into grey values; add marks, blur, noise, exposure and collimation."""
    shape, unit = density.shape, view.scale / 112
    across = np.linspace(-1, 1, shape[1], dtype=np.float32)[None, :]
    down = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None]
    density = density + _marks(shot, view, rng) + _tubes(body, shot, view)
    density = gaussian_filter(density, shot["blur"] * unit)
    quanta = rng.standard_normal(shape, dtype=np.float32)
    quanta = gaussian_filter(quanta, 0.55) + 0.5 * quanta
    density += shot["noise"] * quanta * (0.6 + np.clip(density, 0, 1.3))
    density += shot["heel"] * across - shot["vignette"] * (across**2 + down**2) / 2
    tone = np.clip((density - shot["black"] + 0.06) / (shot["white"] - shot["black"]), 0, 1)
    tone = tone ** (shot["gamma"] * 0.95)
    tone = tone * tone * (3 - 2 * tone) * 0.45 + tone * 0.55  # S-shaped response to the exposure
    if shot["shutter"] < 0.25:
        near, far, above, below = 1 - rng.uniform(0.0, 0.10, 4).astype(np.float32)
        lit = soft_step((across + near) / 0.006) * soft_step((far - across) / 0.006)
        lit = lit * soft_step((down + above) / 0.006) * soft_step((below - down) / 0.006)
        tone *= 0.03 + 0.97 * lit
    grey: NDArray[np.uint8] = np.rint(np.clip(tone, 0, 1) * 250 + 2).astype(np.uint8)
    return grey


def _marks(shot: Measures, view: Projection, rng: Rng) -> Map:
    """Draw the side marker (L or R) and monitor cables of some images: attenuation (H, W)."""
    out = np.zeros_like(view.x)
    edge = 0.9 * view.width / 2 / view.scale
    if shot["marker"] < 0.5:
        sign = -1 if shot["marker"] < 0.25 else 1  # the patient's right side is on the left
        x, y, h = sign * edge * rng.uniform(0.85, 0.95), rng.uniform(-0.8, -0.45), 0.05
        path = [(-0.6, -1.0), (-0.6, 1.0), (0.6, 1.0)]  # L
        if sign < 0:  # R
            path = [(-0.6, 1), (-0.6, -1), (0.2, -1), (0.6, -0.5), (0.2, 0), (-0.6, 0), (0.6, 1)]
        points = [(x + h * a, y + h * b) for a, b in path]
        out += 0.8 * view.strokes([(*p, *q, 0.009) for p, q in pairwise(points)], flat=True)
    if shot["leads"] < 0.22:
        for _ in range(rng.integers(1, 4)):
            x, y = rng.uniform(-0.6, 0.6), rng.uniform(-0.5, 0.5)
            out += 0.25 * soft_step((0.035 - np.hypot(view.x - x, view.y - y)) / 0.006)
            t = np.linspace(0, 1, 25)
            bend = rng.uniform(-0.4, 0.4, 2)
            xs = x + bend[0] * t + bend[1] * t * t + 0.05 * np.sin(5 * t)
            ys = y + (1.3 if y > 0 else -1.3) * t
            lead = [(xs[i], ys[i], xs[i + 1], ys[i + 1], 0.006) for i in range(24)]
            out += 0.3 * view.strokes(lead, flat=True)
    return out


def _tubes(body: Measures, shot: Measures, view: Projection) -> Map:
    """Draw the feeding tube, tracheal tube or central line of some images: attenuation (H, W)."""
    t = np.linspace(0, 1, 25)
    dome, yaw = body["dome"] + shot["breath"], body["yaw"]
    if shot["tube"] < 0.06:  # through the oesophagus to below the left diaphragm
        xs = 0.02 + 0.015 * np.sin(7 * t) + yaw * 0.5 + 0.3 * body["wide"] * np.maximum(t - 0.7, 0)
        ys, half, white = -1.3 + t * (dome + 1.55), 0.007, 0.2
    elif shot["tube"] < 0.1:  # a tracheal tube, which ends above the carina
        xs, ys, half, white = -0.015 - 0.02 * np.sin(4 - 5.2 * t), -1.3 + 0.95 * t, 0.013, 0.12
    elif shot["tube"] < 0.14:  # from the right side of the neck into the superior vena cava
        xs = -0.3 + 0.2 * np.minimum(1.3 * t, 1) ** 0.6 - 0.01 * np.sin(6 * t)
        ys, half, white = -1.1 + 1.05 * t, 0.006, 0.22
    else:
        return np.zeros_like(view.x)
    parts = [(xs[i], ys[i], xs[i + 1], ys[i + 1], half) for i in range(24)]
    return white * view.strokes(parts, flat=True)
