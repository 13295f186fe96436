"""The phantom's anatomy: attenuation of body, lungs, heart, bones and vessels.

Coordinates are in chest units: 1.0 is about half the height of an image. x points to the right of
the image (the patient's left), y points down, and the origin is in the middle of the chest.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.fft import dctn

Map = NDArray[np.floating[Any]]  # mostly float32, for speed
Measures = dict[str, float]  # the measures of a patient or an image, by name
Rng = np.random.Generator
Segment = tuple[float, float, float, float, float]  # x0, y0, x1, y1, half-width


def soft_step(value: Map) -> Map:
    """A soft step from 0 to 1 around zero: the logistic function, computed without overflow."""
    out: Map = 0.5 + 0.5 * np.tanh(0.5 * value)
    return out


class Projection:
    """The geometry of an image: its shape, the pixels' chest coordinates, and ways to draw."""

    def __init__(self, size: int, body: Measures, shot: Measures) -> None:
        aspect = shot["aspect"]
        self.height = size if aspect >= 1 else round(size / aspect)
        self.width = round(size * aspect) if aspect >= 1 else size
        self.dx, self.dy = shot["dx"], shot["dy"] - 0.08
        # The lungs must stay inside the image. Otherwise part of the disease would be cut off.
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
        """The column and row of a point (chest units) on a canvas `factor` times the image."""
        x, y = x + self.dx, y + self.dy
        column = (x * self.cos - y * self.sin) * self.scale + (self.width - 1) / 2
        row = (x * self.sin + y * self.cos) * self.scale + (self.height - 1) / 2
        return factor * (column + 0.5), factor * (row + 0.5)

    def strokes(self, segments: list[Segment], flat: bool = False) -> Map:
        """Draw line segments: (H, W), 0 .. 1. Unless `flat` is true, wider lines are whiter."""
        factor = 3  # lines are about a pixel wide: draw them larger, then reduce the canvas
        canvas = Image.new("L", (self.width * factor, self.height * factor))
        pen = ImageDraw.Draw(canvas)
        for x0, y0, x1, y1, half in segments:
            ends = [self.to_pixels(x0, y0, factor), self.to_pixels(x1, y1, factor)]
            ink = 255 if flat else int(min(255.0, 40 + 11000 * half))
            pen.line(ends, fill=ink, width=max(1, round(2 * half * self.scale * factor)))
        return np.asarray(canvas.reduce(factor), dtype=np.float32) / 255

    def grain(self, rng: Rng, low: int, high: int) -> Map:
        """Draw noise of variance 1 with `low` to `high` half-waves across the image, (H, W).

        As in natural textures, higher frequencies are weaker; otherwise it would look like cloth.
        """
        order = np.arange(high)
        radius = np.hypot(order[:, None], order[None, :])
        share = np.where((radius >= low) & (radius < high), 1 / np.maximum(radius, 1), 0)
        share *= 2 / math.sqrt((share**2).sum())
        weight = rng.standard_normal((high, high)) * share
        weight[1:] /= 2  # the transform counts every wave twice, except the constant
        weight[:, 1:] /= 2
        # Use a cosine transform: matrix products would start BLAS threads. If several processes
        # draw, these threads compete for the cores.
        longest = max(self.height, self.width)
        waves = dctn(weight.astype(np.float32), type=3, s=(longest, longest), workers=1)
        out: Map = waves[: self.height, : self.width]
        return out


def _outline(body: Measures, shot: Measures, view: Projection, dome: float) -> tuple[Map, Map, Map]:
    """Soft tissue, the bones of the arms, and the depth of the trunk (0 .. 1), each (H, W)."""
    x, y, side, wide = view.x, view.y, np.abs(view.x), body["wide"]
    trunk = wide + body["flesh"] + 0.10 * soft_step((-0.42 - y) / 0.07)
    trunk = trunk - 0.03 * soft_step((y - 0.5) / 0.1)
    top = body["shoulder"] - 0.95 * np.exp(-((side / body["neck"]) ** 2)) + 0.10 * side**2
    inside = np.clip(1 - (x / trunk) ** 2, 0, 1) ** 0.42
    soft: Map = (inside * soft_step((y - top) / 0.016)).astype(np.float32)
    soft *= 0.80 + 0.17 * soft_step((y + 0.55) / 0.1) + 0.06 * soft_step((y - dome) / 0.15)
    bone = np.zeros_like(soft)
    for sign in (-1, 1):
        # Both arms hang down, point to the sides, or are raised.
        angle = shot["arms"] + sign * shot["arms_differ"]
        joint = (sign * 1.02 * body["wide"], body["shoulder"] + 0.15)
        away, along = _axis(x - joint[0], y - joint[1], angle, sign)
        arm = np.clip(1 - (away / 0.18) ** 2, 0, 1) ** 0.5 * soft_step((along + 0.02) / 0.05)
        soft = (soft**5 + (0.72 * arm) ** 5) ** 0.2  # a smooth maximum, without a crease
        shaft = np.hypot(away, np.minimum(along - 0.06, 0))
        bone += 0.17 * _tube(shaft / (0.048 + 0.03 * np.exp(-np.abs(along - 0.06) / 0.08)), 0.18)
    return soft, bone, inside


def chest(body: Measures, shot: Measures, view: Projection, rng: Rng) -> tuple[Map, Map, Map]:
    """Draw the thickness of soft tissue, the air (0 .. 1), and the bones, each (H, W)."""
    x, y, side = view.x, view.y, np.abs(view.x)
    wide, apex = body["wide"], body["apex"]
    breath = shot["breath"]  # a deep breath: lower diaphragm, narrower heart, darker lungs
    dome = body["dome"] + breath
    left = soft_step(x / 0.02)  # 1 on the patient's left, the image's right
    mid = x - body["yaw"] * (0.5 - y)  # if the patient is rotated, front and back do not align

    soft, bone, inside = _outline(body, shot, view, dome)

    # The lungs are inside the chest wall, above the diaphragm, outside the mediastinum.
    depth = np.clip((y - apex) / (0.35 - apex), 0, None)
    wall = wide * np.clip(1 - np.clip(1 - depth, 0, 1) ** 2.3, 0, 1) ** 0.5
    wall -= 0.05 * wide * np.clip(depth - 0.8, 0, 1)
    off = np.maximum((side / wide - 0.42) / 0.58, -0.3)
    floor = dome + body["dome_step"] * left + body["dome_curve"] * np.abs(off) ** 2.2
    floor += 0.012 * np.sin(7 * x + 20 * body["med"])
    lung = soft_step((wall - side) / 0.016)
    above = soft_step((floor - y) / 0.013)
    edge = body["med"] + 0.10 * np.exp(-np.clip(depth, 0, 1) / 0.07)
    edge = edge + 0.07 * soft_step((y + 0.08) / 0.06)
    edge = edge + body["knob"] * np.exp(-(((y + 0.30) / 0.09) ** 2)) * left
    sail = max(body["thymus"], 0.0) * np.exp(-((np.maximum(-0.22 - y, 0) / 0.16) ** 2))
    edge = edge + sail * soft_step((-0.12 - y) / 0.04) * soft_step(mid * body["thymus_side"] / 0.01)
    narrow = soft_step((np.abs(mid - 0.02) - edge) / 0.022)
    round_x, round_y = mid - body["heart_x"], y - (dome - 0.52 * body["heart_r"])
    across, down = _axis(round_x, round_y, body["heart_tilt"])
    heart = np.hypot(across / 0.78, down / 1.12)
    heart = soft_step((1 - heart / (body["heart_r"] * (1 - 0.9 * breath))) / 0.055)
    atrium = np.hypot(mid + 0.05, (y - dome + 0.24) * 0.72)
    heart = np.maximum(heart, soft_step((0.19 - atrium) / 0.018))
    bulge = np.clip(1 - (side / np.maximum(wall, 0.05)) ** 2, 0, 1) ** 0.4
    deep = 0.55 + 0.45 * np.clip(depth * 1.6, 0, 1)
    space = lung * bulge * deep
    # A little lung lies behind the heart, the mediastinum and the diaphragm.
    air: Map = space * (0.10 + 0.90 * narrow) * (1 - 0.80 * heart) * (1 + 1.5 * breath)
    # The side turned away from the detector is darker.
    air *= 1 + 1.5 * body["yaw"] * (2 * left - 1)
    air *= above + (1 - above) * 0.14 * soft_step((floor + 0.16 - y) / 0.05)
    soft += 0.02 * heart * above + 0.04 * (1 - narrow) * inside

    # Add hila, trachea, carina, and the gas in stomach and bowel.
    for sign, height in ((-1, -0.06), (1, -0.10)):
        hilum = ((mid - sign * (body["med"] + 0.06)) / 0.07) ** 2 + ((y - height) / 0.11) ** 2
        soft += body["hila"] * np.exp(-hilum)
    pipe = np.abs(mid + 0.015 + 0.02 * np.sin(4 * y))
    windpipe = soft_step((body["trachea"] - pipe) / 0.010) * soft_step((-0.22 - y) / 0.03)
    fork = np.abs(np.abs(mid) - 0.02 - 0.9 * (y + 0.24))
    carina = soft_step((0.028 - fork) / 0.01) * soft_step((y + 0.25) / 0.02)
    soft -= 0.15 * (windpipe + carina * soft_step((-0.12 - y) / 0.02))
    if body["bubble"] > 0:
        under = (y - floor - 0.05) / 0.2  # distance below the diaphragm and the stomach's wall
        gas = ((x - 0.42 * wide) / 0.24) ** 2 + (0.3 + under) ** 2 + 0.10 * view.grain(rng, 2, 7)
        gas = soft_step((1 - gas) / 0.14) * soft_step(under / 0.06)
        soft -= 0.24 * body["bubble"] * gas * (1 - above)
    bowel = soft_step((view.grain(rng, 5, 18) - 0.9) / 0.3) * soft_step((y - dome - 0.3) / 0.05)
    soft -= 0.15 * shot["gas"] * bowel * inside
    soft += 0.035 * view.grain(rng, 1, 5) * inside  # muscle, fat and clothing are uneven
    return soft, air, bone + _bones(body, breath, view, wall, mid) * np.minimum(soft * 4, 1)


def _bones(body: Measures, breath: float, view: Projection, wall: Map, mid: Map) -> Map:
    """Draw ribs, clavicles, scapulae and spine as added attenuation, (H, W)."""
    x, y, side = view.x, view.y, np.abs(view.x)
    step, drop = body["rib_step"], body["rib_drop"]
    u = side / np.maximum(wall, 0.12)
    inner = soft_step((wall + 0.02 - side) / 0.012)
    # One formula draws all ribs: it gives each pixel a fractional rib number.
    curve = drop * u**2 + 0.16 * u**7 - 0.07 * np.sin(np.pi * np.clip(u, 0, 1))
    back = (y - body["apex"] - 0.02 - curve) / (step * (1 + 0.10 * u))
    front_curve = drop + 0.22 - breath + (0.30 + drop) * np.clip(1 - u, 0, 1) ** 0.9
    front = (y - body["apex"] - front_curve) / (step * 1.1)
    ribs = np.zeros_like(x)
    pairs = math.floor(body["ribs"])
    fade = soft_step((side - 0.07) / 0.02) * (0.35 + 0.65 * soft_step((side - 0.22) / 0.05))
    tip = soft_step((u - 0.50) / 0.04)
    for number, strength, half, show in ((back, 1.0, 1.0, fade), (front, 0.55, 1.15, tip)):
        nearest = np.rint(number)
        # Make each rib a little different.
        pick = 1 + 0.2 * np.sin(2.4 * nearest + 99 * body["med"] + 2 * (x > 0))
        shown = show * soft_step((number + 0.4) / 0.1) * (nearest < pairs)
        shown *= 1 - 0.6 * soft_step((number - 8.5) / 0.5)  # paler over the abdomen
        shown *= 1 - (nearest >= pairs - 2) * soft_step((u - 0.8) / 0.04)  # floating ribs are short
        across = np.abs(number - nearest) / (half * body["rib_half"])
        ribs += strength * shown * pick * _tube(across, 0.16)
    ribs *= inner * (1 + 1.1 * np.clip(u, 0, 1) ** 8)  # at the chest wall we look along the rib
    bone: Map = body["rib_white"] * ribs
    # The clavicles have the shape of a flat S from the sternum to the shoulder.
    reach = (np.abs(mid) - 0.07) / 0.62
    bar = body["shoulder"] + 0.13 - body["clavicle_tilt"] * 0.4 * reach
    bar = bar + 0.035 * np.sin(2 * np.pi * np.clip(reach, 0, 1))
    span = soft_step(reach / 0.012) * soft_step((1 - reach) / 0.02)
    bone += 0.13 * span * _tube(np.abs(y - bar) / (0.026 + 0.012 * (reach - 0.5) ** 2), 0.18)
    # Each scapula is a thin blade with a thicker outer border.
    blade = side - body["wide"] * (0.72 + 0.2 * body["scapula"]) - 0.25 * (-0.35 - y)
    plate = soft_step(blade / 0.012)
    plate *= soft_step((-0.12 + 0.1 * body["scapula"] - y - 0.9 * blade) / 0.015)
    plate *= soft_step((y - body["shoulder"] - 0.08 - 0.1 * side) / 0.02)
    bone += plate * (0.055 + 0.08 * np.exp(-((blade / 0.018) ** 2)))
    # The spine has vertebrae with pedicles between darker discs; soft tissue hides most of it.
    level = (y - body["apex"]) / (0.8 * step)
    gap = np.abs(level - np.rint(level))
    column = np.abs(x + 0.3 * body["yaw"])
    spine = soft_step((0.085 - column) / 0.012) * (0.25 + 0.75 * soft_step((gap - 0.13) / 0.04))
    pedicle = np.exp(-(((column - 0.06) / 0.018) ** 2) - ((gap - 0.34) / 0.11) ** 2)
    bone += 0.06 * spine + 0.04 * pedicle
    return bone


def _axis(x: Map, y: Map, angle: float, sign: float = 1.0) -> tuple[Map, Map]:
    """The distance from an axis and the position along it; it slopes down to the side `sign`."""
    cos, sin = sign * math.cos(angle), math.sin(angle)
    return x * sin - y * cos, x * cos + y * sin


def _tube(radius: Map, edge: float) -> Map:
    """The cross-section of a bone: bright edge, darker inside; `radius` is 1 at the surface."""
    out: Map = soft_step((1 - radius) / (0.5 * edge)) * (
        0.62 + 0.55 * np.exp(-(((radius - 0.82) / (1.3 * edge)) ** 2))
    )
    return out


def bronchial_tree(rng: Rng, body: Measures, trunks: int = 9) -> list[Segment]:
    """Draw vessels or bronchi: trees from both hila, which branch and become thinner."""
    segments: list[Segment] = []
    for sign, height in ((-1, -0.06), (1, -0.10)):
        for trunk in range(trunks):
            heading = -1.25 + 2.7 * (trunk + rng.uniform(-0.6, 1.2)) / trunks
            x = sign * (body["med"] + 0.03 + body["yaw"] * 0.5)
            y = height + rng.uniform(0.07, 0.13) * heading
            half = rng.uniform(0.005, 0.010)
            half += 0.005 * (heading > 0)  # gravity widens the vessels of the lower lobes
            todo = [(x, y, heading, rng.uniform(0.14, 0.26), half)]
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
