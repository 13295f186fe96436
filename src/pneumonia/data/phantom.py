"""Drawn chest films: a small synthetic stand-in for a paediatric radiograph collection.

Every film is computed, not photographed: a map of X-ray attenuation is built from simple
shapes (body, lungs, heart, ribs, vessels), disease is added to the lungs, and the map is
exposed, blurred and made noisy.  It lets the whole pipeline run without a download and gives
opacities whose true place is known.

It is *not* a source of medical knowledge.  Nothing here was fitted to patients, and scores
reached on it say nothing about scores on radiographs.

Coordinates: x grows to the image's right (the patient's left), y grows downwards, the origin
lies in the mid-chest, and 1.0 is about half the height of a film.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

Map = NDArray[np.floating[Any]]  # float32 almost everywhere, for speed
Segment = tuple[float, float, float, float, float]  # x0, y0, x1, y1, half-width

_CYCLE = (0, 1, 1, 2, 3, 3, 3)  # four patients with 1, 2, 1 and 3 films
_BLOCK = ("normal",) * 4 + ("bacteria",) * 3 + ("virus",) * 3
_SPLIT, _DIAGNOSIS, _ANATOMY, _VESSELS, _DISEASE, _FILM, _TEXTURE = range(7)

# Uniform ranges of what differs between patients, in chest units unless said otherwise.
_PATIENT_RANGES = {
    "wide": (0.76, 0.96), "apex": (-0.74, -0.64), "dome": (0.30, 0.52), "dome_step": (0.02, 0.09),
    "dome_curve": (0.14, 0.28), "flesh": (0.07, 0.17), "heart_r": (0.30, 0.43),
    "heart_x": (0.08, 0.19), "heart_tilt": (0.45, 0.85), "med": (0.10, 0.165), "yaw": (-0.06, 0.06),
    "knob": (0.01, 0.05), "thymus": (-0.10, 0.14), "thymus_side": (-1.0, 1.0),
    "rib_step": (0.125, 0.16), "rib_drop": (0.05, 0.2), "rib_half": (0.16, 0.22),
    "rib_white": (0.06, 0.12), "air": (0.42, 0.64), "neck": (0.24, 0.32),
    "shoulder": (-0.78, -0.66), "marking": (0.6, 1.35), "bubble": (-0.6, 1.0),
    "clavicle_tilt": (-0.1, 0.3), "scapula": (0.0, 1.0),
}  # fmt: skip

# The same for what differs between films of one patient.
_FILM_RANGES = {
    "zoom": (1.04, 1.26), "dx": (-0.05, 0.05), "dy": (-0.06, 0.08), "turn": (-0.06, 0.06),
    "aspect": (0.97, 1.35), "breath": (-0.05, 0.04), "black": (0.02, 0.16), "white": (1.22, 1.6),
    "gamma": (0.8, 1.2), "noise": (0.004, 0.015), "blur": (0.45, 0.8), "vignette": (0.0, 0.12),
    "heel": (-0.07, 0.07), "arms": (-0.5, 1.1), "arms_differ": (-0.25, 0.25),
    "marker": (0.0, 1.0), "leads": (0.0, 1.0), "shutter": (0.0, 1.0), "lucency": (0.82, 1.12),
    "gas": (0.0, 1.0),
}  # fmt: skip


@dataclass(frozen=True)
class Film:
    """One drawn film.

    index, patient: counted from 0; a patient has one to three consecutive films.
    label: 0 normal, 1 pneumonia.  subtype: "normal", "bacteria" or "virus".
    split: "train" or "test", the same for all films of a patient.
    pixels: (H, W) uint8, 0 black .. 255 white.  mask: (H, W) bool, True where disease was added.
    """

    index: int
    patient: int
    label: int
    subtype: str
    split: str
    pixels: NDArray[np.uint8]
    mask: NDArray[np.bool_]


def patient_of(index: int) -> int:
    """Return the patient, from 0, whose film number `index` (from 0) is."""
    return 4 * (index // len(_CYCLE)) + _CYCLE[index % len(_CYCLE)]


def diagnosis_of(seed: int, patient: int) -> tuple[str, str]:
    """Return (subtype, split) of a patient.

    Each run of ten patients holds four normal, three bacterial and three viral ones, two of the
    ten in the test set, so that even small collections keep these proportions.
    """
    block, place = divmod(patient, len(_BLOCK))
    order = np.random.default_rng([seed, block, _DIAGNOSIS]).permutation(len(_BLOCK))
    drawn = np.random.default_rng([seed, block, _SPLIT]).permutation(len(_BLOCK))
    return _BLOCK[order[place]], "test" if drawn[place] < 2 else "train"


def draw(seed: int, index: int, size: int = 224) -> Film:
    """Draw film number `index` of the collection `seed`; `size` is its shorter side in pixels."""
    patient = patient_of(index)
    subtype, split = diagnosis_of(seed, patient)
    # Disease has generators of its own: were they shared, a diagnosis would change what anatomy
    # and exposure draw next, and those could then give it away.
    body = _uniform(np.random.default_rng([seed, patient, _ANATOMY]), _PATIENT_RANGES)
    rng = np.random.default_rng([seed, index, _FILM])
    shot = _uniform(rng, _FILM_RANGES)
    view = _View(size, body, shot)
    thickness, air, ribs = _chest(body, shot, view, rng)
    filled, mask = _disease(seed, patient, index, subtype, body, view, air)
    vessels = view.strokes(_tree(np.random.default_rng([seed, patient, _VESSELS]), body))
    vessels = 0.24 * gaussian_filter(vessels, 0.006 * view.scale) * np.minimum(air * 2.5, 1)
    # Disease replaces air by fluid: it can hide a vessel or a border, but never adds more
    # attenuation than the air had taken away.
    density = thickness - body["air"] * shot["lucency"] * air * (1 - filled)
    vessels += 0.012 * view.grain(rng, 20, 60) * air
    density += ribs + body["marking"] * vessels * (1 - filled)
    pixels = _expose(density, shot, view, rng)
    return Film(index, patient, int(subtype != "normal"), subtype, split, pixels, mask)


def _uniform(rng: np.random.Generator, ranges: dict[str, tuple[float, float]]) -> dict[str, float]:
    return {name: float(rng.uniform(*bounds)) for name, bounds in ranges.items()}


def _step(value: Map) -> Map:
    """A soft step from 0 to 1 around zero (the logistic function, by tanh: no overflow)."""
    out: Map = 0.5 + 0.5 * np.tanh(0.5 * value)
    return out


class _View:
    """The film's frame: its shape, its pixels' chest coordinates, and drawing in those."""

    def __init__(self, size: int, body: dict[str, float], shot: dict[str, float]) -> None:
        aspect = shot["aspect"]
        self.height = size if aspect >= 1 else round(size / aspect)
        self.width = round(size * aspect) if aspect >= 1 else size
        self.dx, self.dy = shot["dx"], shot["dy"] - 0.08
        # The lungs must stay inside, or the film's edge would show part of the disease.
        zoom = min(shot["zoom"], self.width / self.height / (body["wide"] + 0.14))
        zoom = min(zoom, -0.92 / (body["apex"] + self.dy))
        self.scale = zoom * self.height / 2  # pixels per chest unit
        self.cos, self.sin = math.cos(shot["turn"]), math.sin(shot["turn"])
        row, column = np.ogrid[: self.height, : self.width]
        down = ((row - (self.height - 1) / 2) / self.scale).astype(np.float32)
        right = ((column - (self.width - 1) / 2) / self.scale).astype(np.float32)
        self.x: Map = right * self.cos + down * self.sin - self.dx
        self.y: Map = down * self.cos - right * self.sin - self.dy

    def to_pixels(self, x: float, y: float, factor: int) -> tuple[float, float]:
        x, y = x + self.dx, y + self.dy
        column = (x * self.cos - y * self.sin) * self.scale + (self.width - 1) / 2
        row = (x * self.sin + y * self.cos) * self.scale + (self.height - 1) / 2
        return factor * (column + 0.5), factor * (row + 0.5)

    def strokes(self, segments: list[Segment], flat: bool = False) -> Map:
        """Draw line segments, wider ones whiter unless `flat`; (H, W), 0 .. 1."""
        factor = 3  # lines are about a pixel wide: draw them larger, then average
        canvas = Image.new("L", (self.width * factor, self.height * factor))
        pen = ImageDraw.Draw(canvas)
        for x0, y0, x1, y1, half in segments:
            ends = [self.to_pixels(x0, y0, factor), self.to_pixels(x1, y1, factor)]
            ink = 255 if flat else int(min(255.0, 40 + 11000 * half))
            pen.line(ends, fill=ink, width=max(1, round(2 * half * self.scale * factor)))
        return np.asarray(canvas.reduce(factor), dtype=np.float32) / 255

    def grain(self, rng: np.random.Generator, low: int, high: int) -> Map:
        """Smooth noise of unit variance with `low` to `high` half-waves across; (H, W)."""
        order = np.arange(high)
        radius = np.hypot(order[:, None], order[None, :])
        keep = (radius >= low) & (radius < high)
        weight = rng.standard_normal((high, high)) * keep * 2 / math.sqrt(keep.sum())
        longest = max(self.height, self.width)
        down = np.cos(np.pi * order * (np.arange(self.height)[:, None] + 0.5) / longest)
        right = np.cos(np.pi * order[:, None] * (np.arange(self.width) + 0.5) / longest)
        out: Map = (down @ weight @ right).astype(np.float32)
        return out


def _chest(
    body: dict[str, float], shot: dict[str, float], view: _View, rng: np.random.Generator
) -> tuple[Map, Map, Map]:
    """Return soft tissue thickness, air (0 .. 1) and added bone, each (H, W)."""
    x, y, side = view.x, view.y, np.abs(view.x)
    wide, apex = body["wide"], body["apex"]
    dome = body["dome"] + shot["breath"]
    left = _step(x / 0.02)  # 1 on the patient's left, the image's right
    mid = x - body["yaw"] * (0.5 - y)  # a turned patient's front shifts against the back

    # Outline: trunk, neck and shoulders.
    trunk = wide + body["flesh"] + 0.10 * _step((-0.42 - y) / 0.07) - 0.03 * _step((y - 0.5) / 0.1)
    top = body["shoulder"] - 0.95 * np.exp(-((side / body["neck"]) ** 2)) + 0.10 * side**2
    inside = np.clip(1 - (x / trunk) ** 2, 0, 1) ** 0.42
    soft: Map = (inside * _step((y - top) / 0.016)).astype(np.float32)
    soft *= 0.80 + 0.17 * _step((y + 0.55) / 0.1) + 0.06 * _step((y - dome) / 0.15)
    bone = np.zeros_like(soft)
    for sign in (-1, 1):
        # Arms hang, lie out or are held up; both in much the same way.
        angle = shot["arms"] + sign * shot["arms_differ"]
        joint = (sign * 1.02 * body["wide"], body["shoulder"] + 0.15)
        away, along = _axis(x - joint[0], y - joint[1], angle, sign)
        arm = np.clip(1 - (away / 0.18) ** 2, 0, 1) ** 0.5 * _step((along + 0.02) / 0.05)
        soft = (soft**5 + (0.72 * arm) ** 5) ** 0.2  # a rounded maximum: no crease between
        shaft = np.hypot(away, np.minimum(along - 0.06, 0))
        bone += 0.17 * _tube(shaft / (0.048 + 0.03 * np.exp(-np.abs(along - 0.06) / 0.08)), 0.18)

    # Lungs: inside the chest wall, above the diaphragm, outside the mediastinum.
    depth = np.clip((y - apex) / (0.35 - apex), 0, None)
    wall = wide * np.clip(1 - np.clip(1 - depth, 0, 1) ** 2.3, 0, 1) ** 0.5
    wall -= 0.05 * wide * np.clip(depth - 0.8, 0, 1)
    off = np.maximum((side / wide - 0.42) / 0.58, -0.3)
    floor = dome + body["dome_step"] * left + body["dome_curve"] * np.abs(off) ** 2.2
    floor += 0.012 * np.sin(7 * x + 20 * body["med"])
    lung = _step((wall - side) / 0.016)
    above = _step((floor - y) / 0.013)
    edge = body["med"] + 0.10 * np.exp(-np.clip(depth, 0, 1) / 0.07)
    edge = edge + 0.07 * _step((y + 0.08) / 0.06)
    edge = edge + body["knob"] * np.exp(-(((y + 0.30) / 0.09) ** 2)) * left
    sail = max(body["thymus"], 0.0) * np.exp(-((np.maximum(-0.22 - y, 0) / 0.16) ** 2))
    edge = edge + sail * _step((-0.12 - y) / 0.04) * _step(mid * body["thymus_side"] / 0.01)
    narrow = _step((np.abs(mid - 0.02) - edge) / 0.022)
    round_x, round_y = mid - body["heart_x"], y - (dome - 0.52 * body["heart_r"])
    across, down = _axis(round_x, round_y, body["heart_tilt"])
    heart = np.hypot(across / 0.78, down / 1.12)
    heart = _step((1 - heart / body["heart_r"]) / 0.055)
    atrium = np.hypot(mid + 0.05, (y - dome + 0.24) * 0.72)
    heart = np.maximum(heart, _step((0.19 - atrium) / 0.018))
    bulge = np.clip(1 - (side / np.maximum(wall, 0.05)) ** 2, 0, 1) ** 0.4
    deep = 0.55 + 0.45 * np.clip(depth * 1.6, 0, 1)
    space = lung * bulge * deep
    # A little lung lies behind the heart, the mediastinum and the diaphragm's dome.
    air: Map = space * (0.10 + 0.90 * narrow) * (1 - 0.80 * heart)
    air *= above + (1 - above) * 0.14 * _step((floor + 0.16 - y) / 0.05)
    soft += 0.02 * heart * above + 0.04 * (1 - narrow) * inside

    # Hila, trachea with its carina, gastric bubble and bowel gas.
    for sign, height in ((-1, -0.06), (1, -0.10)):
        hilum = ((mid - sign * (body["med"] + 0.06)) / 0.07) ** 2 + ((y - height) / 0.11) ** 2
        soft += 0.07 * np.exp(-hilum)
    pipe = np.abs(mid + 0.015 + 0.02 * np.sin(4 * y))
    windpipe = _step((0.042 - pipe) / 0.010) * _step((-0.22 - y) / 0.03)
    fork = np.abs(np.abs(mid) - 0.02 - 0.9 * (y + 0.24))
    windpipe += _step((0.028 - fork) / 0.01) * _step((y + 0.25) / 0.02) * _step((-0.12 - y) / 0.02)
    soft -= 0.10 * windpipe
    if body["bubble"] > 0:
        gas = ((x - 0.42 * wide) / 0.2) ** 2 + ((y - dome - body["dome_step"] - 0.17) / 0.09) ** 2
        soft -= 0.25 * body["bubble"] * _step((1 - gas) / 0.16) * (1 - above)
    bowel = _step((view.grain(rng, 5, 14) - 1.1) / 0.2) * _step((y - dome - 0.3) / 0.05)
    soft -= 0.16 * shot["gas"] * bowel * inside
    soft += 0.035 * view.grain(rng, 1, 5) * inside  # muscle, fat and clothing lie unevenly
    return soft, air, bone + _bones(body, view, wall, depth, mid, rng) * np.minimum(soft * 4, 1)


def _bones(
    body: dict[str, float], view: _View, wall: Map, depth: Map, mid: Map, rng: np.random.Generator
) -> Map:
    """Ribs, clavicles, scapulae and spine as added attenuation, (H, W)."""
    x, y, side = view.x, view.y, np.abs(view.x)
    step, drop = body["rib_step"], body["rib_drop"]
    u = side / np.maximum(wall, 0.12)
    inner = _step((wall + 0.02 - side) / 0.012)
    # One formula holds for all ribs: solve each pixel for the (fractional) rib number.
    curve = drop * u**2 + 0.16 * u**7 - 0.07 * np.sin(np.pi * np.clip(u, 0, 1))
    back = (y - body["apex"] - 0.02 - curve) / (step * (1 + 0.10 * u))
    front_curve = drop + 0.22 + (0.30 + drop) * np.clip(1 - u, 0, 1) ** 0.9
    front = (y - body["apex"] - front_curve) / (step * 1.1)
    ribs = np.zeros_like(x)
    fade = _step((side - 0.07) / 0.02) * (0.35 + 0.65 * _step((side - 0.22) / 0.05))
    tip = _step((u - 0.50) / 0.04)
    for number, strength, half, show in ((back, 1.0, 1.0, fade), (front, 0.55, 1.15, tip)):
        nearest = np.rint(number)
        pick = 1 + 0.2 * np.sin(2.4 * nearest + 99 * body["med"] + 2 * (x > 0))  # no two alike
        shown = show * _step((number + 0.4) / 0.1) * (0.15 + 0.85 * _step((9.0 - number) / 0.5))
        across = np.abs(number - nearest) / (half * body["rib_half"])
        ribs += strength * shown * pick * _tube(across, 0.16)
    ribs *= inner * (1 + 1.1 * np.clip(u, 0, 1) ** 8)  # seen end-on at the chest wall
    bone: Map = body["rib_white"] * ribs
    # Clavicles: a shallow S from the sternum to the shoulder.
    reach = (np.abs(mid) - 0.07) / 0.62
    bar = body["shoulder"] + 0.13 - body["clavicle_tilt"] * 0.4 * reach
    bar = bar + 0.035 * np.sin(2 * np.pi * np.clip(reach, 0, 1))
    span = _step(reach / 0.012) * _step((1 - reach) / 0.02)
    bone += 0.13 * span * _tube(np.abs(y - bar) / (0.026 + 0.012 * (reach - 0.5) ** 2), 0.18)
    # Scapulae: a thin blade with a thicker outer border.
    blade = side - body["wide"] * (0.72 + 0.2 * body["scapula"]) - 0.25 * (-0.35 - y)
    plate = _step(blade / 0.012) * _step((-0.12 + 0.1 * body["scapula"] - y - 0.9 * blade) / 0.015)
    plate *= _step((y - body["shoulder"] - 0.08 - 0.1 * side) / 0.02)
    bone += plate * (0.045 + 0.06 * np.exp(-((blade / 0.018) ** 2)))
    # Spine: bodies between darker discs, with pedicles; hidden by what lies before it.
    level = (y - body["apex"]) / (0.8 * step)
    gap = np.abs(level - np.rint(level))
    column = np.abs(x + 0.3 * body["yaw"])
    spine = _step((0.085 - column) / 0.012) * (0.25 + 0.75 * _step((gap - 0.13) / 0.04))
    pedicle = np.exp(-(((column - 0.06) / 0.018) ** 2) - ((gap - 0.34) / 0.11) ** 2)
    bone += 0.06 * spine + 0.04 * pedicle
    return bone


def _axis(x: Map, y: Map, angle: float, sign: float = 1.0) -> tuple[Map, Map]:
    """Return the distance from, and the way along, an axis sloping down to the side `sign`."""
    cos, sin = sign * math.cos(angle), math.sin(angle)
    return x * sin - y * cos, x * cos + y * sin


def _tube(radius: Map, edge: float) -> Map:
    """A long bone across, `radius` 1 at its surface: a bright cortex around a greyer marrow."""
    out: Map = _step((1 - radius) / (0.5 * edge)) * (
        0.62 + 0.55 * np.exp(-(((radius - 0.82) / (1.3 * edge)) ** 2))
    )
    return out


def _tree(rng: np.random.Generator, body: dict[str, float], trunks: int = 9) -> list[Segment]:
    """Blood vessels: trees that leave both hila, branch and taper."""
    segments: list[Segment] = []
    for sign, height in ((-1, -0.06), (1, -0.10)):
        for trunk in range(trunks):
            heading = -1.25 + 2.7 * (trunk + rng.uniform(-0.6, 1.2)) / trunks
            root = sign * (body["med"] + 0.03 + body["yaw"] * 0.5), height + 0.08 * heading
            half = rng.uniform(0.006, 0.011)
            half += 0.005 * (heading > 0)  # gravity fills the lower lobes
            todo = [(*root, heading, rng.uniform(0.14, 0.26), half)]
            while todo:
                x, y, angle, length, half = todo.pop()
                for _ in range(3):
                    angle += rng.normal(0, 0.2)
                    end = x + sign * length / 3 * math.cos(angle), y + length / 3 * math.sin(angle)
                    segments.append((x, y, *end, half))
                    (x, y), half = end, half * 0.93
                if half > 0.0035:
                    for turn in (rng.uniform(-0.75, -0.2), rng.uniform(0.2, 0.75)):
                        shorter = length * rng.uniform(0.6, 0.9)
                        todo.append((x, y, angle + turn, shorter, half * 0.7))
    return segments


def _disease(
    seed: int, patient: int, index: int, subtype: str, body: dict[str, float], view: _View, air: Map
) -> tuple[Map, NDArray[np.bool_]]:
    """Return the share of air that is lost, (H, W) 0 .. 1, and where disease took it.

    Normal films lose air too, to featureless haze in the same places (a turned patient, a fold
    of skin, a shallow breath).  What tells pneumonia is its texture and edges, not grey level.
    """
    rng = np.random.default_rng([seed, patient, _DISEASE])
    fine = np.random.default_rng([seed, index, _TEXTURE])
    x, y, side = view.x, view.y, np.abs(view.x)
    grade = rng.uniform(0, 1)  # from subtle to obvious
    focal = subtype == "bacteria" or (subtype == "normal" and rng.random() < 0.5)
    sign = float(rng.choice((-1.0, 1.0)))
    wobble = view.grain(fine, 2, 9)
    if focal:
        centre = (
            sign * body["wide"] * (rng.uniform(0.48, 0.60) + 0.04 * sign),
            rng.uniform(-0.36, 0.24),
        )
        reach = rng.uniform(0.33, 0.46), rng.uniform(0.31, 0.44)
        ball = np.hypot((x - centre[0]) / reach[0], (y - centre[1]) / reach[1])
    else:
        hilum = 0.22 * body["wide"] + 0.06, rng.uniform(-0.08, 0.08)
        ball = np.hypot((side - hilum[0]) / rng.uniform(0.34, 0.5), (y - hilum[1]) / 0.5)
    if subtype == "normal":
        lost = (0.08 + 0.18 * grade) * np.exp(-(ball**2) * 0.7)
        return lost, np.zeros(air.shape, dtype=np.bool_)
    envelope = _step((1 - ball + 0.22 * wobble) / 0.13)
    if focal:
        if rng.random() < 0.5:  # a fissure bounds the lobe: a straight, sharp edge
            below = float(rng.choice((-1.0, 1.0)))
            line = centre[1] - 0.3 * below * reach[1] + rng.uniform(-0.3, 0.3) * (x - centre[0])
            envelope *= _step(below * (y - line) / 0.008)
        if rng.random() < 0.5:  # bronchopneumonia: patches
            envelope *= 0.3 + 0.7 * _step((view.grain(fine, 7, 16) + 0.4) / 0.45)
        mottle = _step(1.5 * view.grain(fine, 12, 34) + 1.6 * view.grain(fine, 34, 64))
        bronchi = view.strokes(_tree(rng, body, trunks=5))
        lost = envelope * (0.38 + 0.62 * mottle) * (1 - 0.75 * np.minimum(2.4 * bronchi, 1))
        lost *= 0.82 + 0.18 * grade
    else:
        net = np.exp(-((view.grain(fine, 28, 60) / 0.35) ** 2))
        net *= 0.35 + 0.65 * _step(2 * view.grain(fine, 16, 40))  # broken lines, not a foam
        cuffs = gaussian_filter(view.strokes(_tree(rng, body, trunks=10)), 0.006 * view.scale)
        patches = 0.5 + 0.5 * _step(3 * view.grain(fine, 8, 16))
        lost = envelope * patches * (0.26 + 0.72 * net + 0.45 * cuffs) * (0.66 + 0.34 * grade)
    added = envelope * np.minimum(air * 2, 1)
    mask = (added > 0.3 * added.max()) & (air > 0.08)
    return np.clip(lost, 0, 0.95).astype(np.float32), mask


def _expose(
    density: Map, shot: dict[str, float], view: _View, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Turn attenuation into grey values: marks, noise, blur, exposure and collimation."""
    shape, unit = density.shape, view.scale / 112
    across = np.linspace(-1, 1, shape[1], dtype=np.float32)[None, :]
    down = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None]
    density = density + _marks(shot, view, rng)
    density = gaussian_filter(density, shot["blur"] * unit)
    quanta = rng.standard_normal(shape, dtype=np.float32)
    quanta = gaussian_filter(quanta, 0.55) + 0.5 * quanta
    density += shot["noise"] * quanta * (0.6 + np.clip(density, 0, 1.3))
    density += shot["heel"] * across - shot["vignette"] * (across**2 + down**2) / 2
    tone = np.clip((density - shot["black"] + 0.06) / (shot["white"] - shot["black"]), 0, 1)
    tone = tone ** (shot["gamma"] * 0.95)
    tone = tone * tone * (3 - 2 * tone) * 0.45 + tone * 0.55  # the toe and shoulder of film
    if shot["shutter"] < 0.25:
        near, far, above, below = 1 - rng.uniform(0.0, 0.10, 4).astype(np.float32)
        lit = _step((across + near) / 0.006) * _step((far - across) / 0.006)
        lit = lit * _step((down + above) / 0.006) * _step((below - down) / 0.006)
        tone *= 0.03 + 0.97 * lit
    grey: NDArray[np.uint8] = np.rint(np.clip(tone, 0, 1) * 250 + 2).astype(np.uint8)
    return grey


def _marks(shot: dict[str, float], view: _View, rng: np.random.Generator) -> Map:
    """A lead side marker and monitor leads, on some films, as added attenuation (H, W)."""
    out = np.zeros_like(view.x)
    edge = 0.9 * view.width / 2 / view.scale
    if shot["marker"] < 0.5:
        sign = -1 if shot["marker"] < 0.25 else 1  # the patient's right is on the image's left
        x, y, h = sign * edge * rng.uniform(0.85, 0.95), rng.uniform(-0.8, -0.45), 0.05
        path = [(-0.6, -1.0), (-0.6, 1.0), (0.6, 1.0)]  # L
        if sign < 0:  # R
            path = [(-0.6, 1), (-0.6, -1), (0.2, -1), (0.6, -0.5), (0.2, 0), (-0.6, 0), (0.6, 1)]
        points = [(x + h * a, y + h * b) for a, b in path]
        out += 0.8 * view.strokes([(*p, *q, 0.009) for p, q in pairwise(points)], flat=True)
    if shot["leads"] < 0.22:
        for _ in range(rng.integers(1, 4)):
            x, y = rng.uniform(-0.6, 0.6), rng.uniform(-0.5, 0.5)
            out += 0.25 * _step((0.035 - np.hypot(view.x - x, view.y - y)) / 0.006)
            t = np.linspace(0, 1, 25)
            bend = rng.uniform(-0.4, 0.4, 2)
            xs = x + bend[0] * t + bend[1] * t * t + 0.05 * np.sin(5 * t)
            ys = y + (1.3 if y > 0 else -1.3) * t
            lead = [(xs[i], ys[i], xs[i + 1], ys[i + 1], 0.006) for i in range(24)]
            out += 0.3 * view.strokes(lead, flat=True)
    return out
