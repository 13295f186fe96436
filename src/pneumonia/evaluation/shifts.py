"""What another machine, hospital or file format does to an image, at three known strengths.

Unlike the augmentation of training, which draws an amount up to a limit at every step, a shift has
one amount a strength, and only its direction is drawn: the figures of two models, or of one model
a year apart, are of the same changed images. The design follows ImageNet-C (Hendrycks & Dietterich
2019), with a radiograph's changes in place of weather.

The three strengths:

- mild: what a technician would not notice between two images;
- medium: an ordinary difference between two hospitals;
- strong: an image that a reader would still accept, and no worse.

Inversion exists only as strong. An image is inverted or not; a half-inverted image is flat grey, which
no machine writes.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
STRENGTHS = ("mild", "medium", "strong")
# A row or a column with no pixel above this grey is padding: `decode` pads with 0, and a prepared
# set that was stored as JPEG has some ringing there.
BLACK = 8


@dataclass(frozen=True)
class Shift:
    """One way in which images differ.

    Attributes:
        change: (image, amount, generator of the direction) to the changed image, both uint8, (S, S).
        unit: of the amounts.
        amounts: by strength.
        why: where the change comes from, and why these amounts.
    """

    change: Callable[[Pixels, float, np.random.Generator], Pixels]
    unit: str
    amounts: dict[str, float]
    why: str


def shifted(
    images: NDArray[np.uint8],
    image_ids: Sequence[str],
    shift: str,
    strength: str,
    seed: int,
) -> NDArray[np.uint8]:
    """Change every image of a set in one way.

    An image's direction comes from the seed, the shift, the strength and the image's own id, so its
    changed version is the same in whatever set it stands.

    Args:
        images: uint8, (N, S, S, 1); not changed.
        image_ids: N of them.
        shift: a key of `SHIFTS`.
        strength: one of `STRENGTHS` that this shift has.
        seed: not negative.

    Returns:
        uint8, (N, S, S, 1), a new array.

    Raises:
        KeyError: no such shift, or none at this strength.
    """
    spec = SHIFTS[shift]
    amount = spec.amounts[strength]
    changed = np.empty_like(images)
    for row, image_id in enumerate(image_ids):
        key = hashlib.sha256(f"{seed}/{shift}/{strength}/{image_id}".encode()).digest()
        rng = np.random.default_rng(np.frombuffer(key, np.uint32))
        changed[row, ..., 0] = spec.change(images[row, ..., 0], amount, rng)
    return changed


def exposure(image: Pixels, amount: float, rng: np.random.Generator) -> Pixels:
    """Add or take away a share of the grey range."""
    return _within(image, lambda grey: grey + _either_way(rng) * amount * 255)


def gamma(image: Pixels, amount: float, rng: np.random.Generator) -> Pixels:
    """Raise the grey value, 0 to 1, to the power exp(amount) or exp(-amount)."""
    power = np.exp(_either_way(rng) * amount)
    return _within(image, lambda grey: 255 * (grey / 255) ** power)


def contrast(image: Pixels, amount: float, rng: np.random.Generator) -> Pixels:
    """Stretch by exp(amount) or exp(-amount) about the image's mean: the exposure stays."""
    factor = np.exp(_either_way(rng) * amount)
    return _within(image, lambda grey: (grey - grey.mean()) * factor + grey.mean())


def noise(image: Pixels, amount: float, rng: np.random.Generator) -> Pixels:
    """Add white Gaussian noise with a standard deviation that is a share of the grey range."""
    return _within(image, lambda grey: grey + amount * 255 * rng.standard_normal(grey.shape))


def inversion(image: Pixels, amount: float, rng: np.random.Generator) -> Pixels:
    """Swap black and white."""
    return _within(image, lambda grey: 255 - grey)


def blur(image: Pixels, amount: float, rng: np.random.Generator) -> Pixels:
    """Spread by a Gaussian whose standard deviation is a share of the side."""
    from scipy.ndimage import gaussian_filter

    grey = image.astype(np.float32)
    return _grey(gaussian_filter(grey, amount * len(image), mode="nearest", truncate=3))


def resolution(image: Pixels, amount: float, rng: np.random.Generator) -> Pixels:
    """Resize to a share of the side, antialiased, and back."""
    side = len(image)
    small = Image.fromarray(image).resize((round(amount * side),) * 2, Image.Resampling.BILINEAR)
    return np.asarray(small.resize((side, side), Image.Resampling.BICUBIC))


def jpeg(image: Pixels, amount: float, rng: np.random.Generator) -> Pixels:
    """Write as a JPEG file of a quality, and read that."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="JPEG", quality=int(amount))
    with Image.open(file) as decoded:
        return np.asarray(decoded)


def zoom(image: Pixels, amount: float, rng: np.random.Generator) -> Pixels:
    """Enlarge (the rim is cropped) or reduce (a black rim) about the centre by 1 + amount."""
    return _affine(image, np.eye(2) * (1 + amount) ** _either_way(rng))


def rotation(image: Pixels, amount: float, rng: np.random.Generator) -> Pixels:
    """Turn about the centre by an angle in degrees; the corners are black."""
    angle = np.deg2rad(_either_way(rng) * amount)
    return _affine(
        image, np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    )


def collimator(image: Pixels, amount: float, rng: np.random.Generator) -> Pixels:
    """Black out the rim of the image: each blade covers half to all of a share of its length."""
    rows, columns = _image_of(image)
    height, width = rows.stop - rows.start, columns.stop - columns.start
    top, bottom = np.rint(rng.uniform(0.5, 1, 2) * amount * height).astype(int)
    left, right = np.rint(rng.uniform(0.5, 1, 2) * amount * width).astype(int)
    seen = (
        slice(rows.start + top, rows.stop - bottom),
        slice(columns.start + left, columns.stop - right),
    )
    changed = np.zeros_like(image)
    changed[seen] = image[seen]
    return changed


def _amounts(mild: float, medium: float, strong: float) -> dict[str, float]:
    return dict(zip(STRENGTHS, (mild, medium, strong), strict=True))


SHIFTS = {
    "exposure": Shift(
        exposure,
        "share of the grey range, brighter or darker",
        _amounts(0.04, 0.12, 0.25),
        "An image's density is linear in the logarithm of the exposure, so another exposure adds a "
        "constant. On an image of gradient 2.8 and density range 2.8 the amounts are 10 %, 32 % and "
        "78 % of dose; one step of a generator's mAs dial is 25 %.",
    ),
    "gamma": Shift(
        gamma,
        "natural logarithm of the exponent, either way",
        _amounts(0.08, 0.25, 0.6),
        "Lookup tables differ between makers; displays of gamma 1.8 against 2.2 differ by 0.2.",
    ),
    "contrast": Shift(
        contrast,
        "natural logarithm of the factor, either way",
        _amounts(0.08, 0.25, 0.6),
        "Tube voltage, scatter and window width. A window of 1.28 times the width is the medium.",
    ),
    "blur": Shift(
        blur,
        "standard deviation, share of the side",
        _amounts(0.002, 0.004, 0.008),
        "Focal spot, motion of a breathing child, scanner optics: at 224 px 0.4, 0.9 and 1.8 px, "
        "on an image of 30 cm 0.6, 1.2 and 2.4 mm. Below 100 px the mild one changes no pixel.",
    ),
    "noise": Shift(
        noise,
        "standard deviation, share of the grey range",
        _amounts(0.01, 0.03, 0.06),
        "Quantum noise that is left after the reduction to the square; at the mild amount it is "
        "as faint as the image's own grain, at the strong one it hides fine vessels.",
    ),
    "jpeg": Shift(
        jpeg,
        "quality, 1 to 95",
        _amounts(80, 50, 15),
        "Images are mailed and uploaded as JPEG. The square's blocks of 8 px are coarser on the "
        "chest than those of a full-size file, so the qualities are higher than a mail client's.",
    ),
    "zoom": Shift(
        zoom,
        "share of the side, cropped or framed",
        _amounts(0.03, 0.10, 0.20),
        "Distance, size of cassette and cropping by hand. At 0.20 a crop begins to lose the lung "
        "apices and the costophrenic angles.",
    ),
    "rotation": Shift(
        rotation,
        "degrees, either way",
        _amounts(2, 6, 15),
        "A child lies askew. Below 2 degrees nobody turns the image upright; at 15 anyone would.",
    ),
    "resolution": Shift(
        resolution,
        "share of the side",
        _amounts(0.75, 0.5, 0.25),
        "Thumbnails and screen shots: at 224 px 168, 112 and 56 px. Published networks still rank "
        "this set at 28 px (AUC .944 against .956 at 224 px; MedMNIST v2).",
    ),
    "collimator": Shift(
        collimator,
        "share of the image's height or width behind a blade",
        _amounts(0.02, 0.06, 0.12),
        "Blades in the beam, painted black by the viewer's shutter; each covers half to all of the "
        "amount. At 0.12 they reach the lateral chest wall.",
    ),
    "inversion": Shift(
        inversion,
        "inverted or not",
        {"strong": 1},
        "A DICOM file of MONOCHROME1 read as MONOCHROME2. A fault of the reader, not a property of "
        "the image, so no choice between models rests on it.",
    ),
}


def _either_way(rng: np.random.Generator) -> int:
    return int(rng.integers(2)) * 2 - 1


def _image_of(square: Pixels) -> tuple[slice, slice]:
    """Rows and columns of the image proper: tone changes happen before `decode` pads with black."""
    bright = square > BLACK
    rows, columns = np.flatnonzero(bright.any(1)), np.flatnonzero(bright.any(0))
    if not len(rows):
        return slice(0, len(square)), slice(0, len(square))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _within(
    square: Pixels, change: Callable[[NDArray[np.float32]], NDArray[np.floating]]
) -> Pixels:
    changed = square.copy()
    image = _image_of(square)
    changed[image] = _grey(change(square[image].astype(np.float32)))
    return changed


def _grey(values: NDArray[np.floating]) -> Pixels:
    return np.rint(np.clip(values, 0, 255)).astype(np.uint8)


def _affine(image: Pixels, enlarge: NDArray[np.float64]) -> Pixels:
    """Move each point p, as seen from the centre, to `enlarge` p; black where nothing comes to."""
    back = np.linalg.inv(enlarge)
    centre = np.full(2, len(image) / 2)
    offset = centre - back @ centre
    terms = (*back[0], offset[0], *back[1], offset[1])
    changed = Image.fromarray(image).transform(
        (len(image), len(image)),
        Image.Transform.AFFINE,
        terms,
        Image.Resampling.BILINEAR,
        fillcolor=0,
    )
    return np.asarray(changed)
