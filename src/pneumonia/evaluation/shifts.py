"""Change images as another machine, hospital or file format would, at three fixed strengths.

An augmentation in training has a random amount. A shift has one fixed amount per strength, and only
its direction is random, from a seed. So all models are measured on the same changed images. The
design follows ImageNet-C (Hendrycks & Dietterich 2019), with changes that occur in X-rays.

- mild: a technician would not notice the difference;
- medium: an ordinary difference between two hospitals;
- strong: the worst image that a reader would still accept.

Inversion has only the strength "strong", because an image is either inverted or not.
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
# If no pixel of a row or column is above this grey value, the row or column is padding. `decode`
# pads with 0, but JPEG changes the zeros near an edge slightly.
BLACK = 8


@dataclass(frozen=True)
class Shift:
    """One kind of change."""

    #: a function (image, amount, random generator) -> changed image; both images uint8, (S, S).
    change: Callable[[Pixels, float, np.random.Generator], Pixels]
    unit: str  #: unit of the amounts
    amounts: dict[str, float]  #: the amount for each strength
    why: str  #: the cause of the change, and the reason for the amounts


def shifted(
    images: NDArray[np.uint8],
    image_ids: Sequence[str],
    shift: str,
    strength: str,
    seed: int,
) -> NDArray[np.uint8]:
    """Apply one shift to images.

    The direction depends only on the seed, the shift, the strength and the image's id. So the other
    images in the call do not affect how an image is changed.

    Args:
        images: uint8, (N, S, S, 1); not modified.
        image_ids: the ids of the N images.
        shift: a key of `SHIFTS`.
        strength: one of the strengths in `STRENGTHS` that this shift has.
        seed: an integer, not negative.

    Returns:
        the changed images, uint8, (N, S, S, 1), a new array.

    Raises:
        KeyError: the shift does not exist, or does not have this strength.
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
    """Add or subtract a share of the grey range."""
    return _change_content(image, lambda grey: grey + _direction(rng) * amount * 255)


def gamma(image: Pixels, amount: float, rng: np.random.Generator) -> Pixels:
    """Raise each grey value (from 0 to 1) to the power exp(amount) or exp(-amount)."""
    power = np.exp(_direction(rng) * amount)
    return _change_content(image, lambda grey: 255 * (grey / 255) ** power)


def contrast(image: Pixels, amount: float, rng: np.random.Generator) -> Pixels:
    """Multiply each pixel's distance from the mean grey value by exp(amount) or exp(-amount)."""
    factor = np.exp(_direction(rng) * amount)
    return _change_content(image, lambda grey: (grey - grey.mean()) * factor + grey.mean())


def noise(image: Pixels, amount: float, rng: np.random.Generator) -> Pixels:
    """Add white Gaussian noise; the standard deviation is `amount` times the grey range."""
    return _change_content(
        image, lambda grey: grey + amount * 255 * rng.standard_normal(grey.shape)
    )


def inversion(image: Pixels, amount: float, rng: np.random.Generator) -> Pixels:
    """Swap black and white."""
    return _change_content(image, lambda grey: 255 - grey)


def blur(image: Pixels, amount: float, rng: np.random.Generator) -> Pixels:
    """Apply a Gaussian filter; the standard deviation is `amount` times the side of the image."""
    from scipy.ndimage import gaussian_filter

    grey = image.astype(np.float32)
    return _as_pixels(gaussian_filter(grey, amount * len(image), mode="nearest", truncate=3))


def resolution(image: Pixels, amount: float, rng: np.random.Generator) -> Pixels:
    """Reduce the image to a share of its side, with antialiasing, and enlarge it again."""
    side = len(image)
    small = Image.fromarray(image).resize((round(amount * side),) * 2, Image.Resampling.BILINEAR)
    return np.asarray(small.resize((side, side), Image.Resampling.BICUBIC))


def jpeg(image: Pixels, amount: float, rng: np.random.Generator) -> Pixels:
    """Save the image as a JPEG file with the quality `amount`, and read it again."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="JPEG", quality=int(amount))
    with Image.open(file) as decoded:
        return np.asarray(decoded)


def zoom(image: Pixels, amount: float, rng: np.random.Generator) -> Pixels:
    """Enlarge and crop the image, or reduce it with a black border, centred, by 1 + `amount`."""
    return _affine(image, np.eye(2) * (1 + amount) ** _direction(rng))


def rotation(image: Pixels, amount: float, rng: np.random.Generator) -> Pixels:
    """Rotate the image about its centre by `amount` degrees; the corners become black."""
    angle = np.deg2rad(_direction(rng) * amount)
    return _affine(
        image, np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    )


def collimator(image: Pixels, amount: float, rng: np.random.Generator) -> Pixels:
    """Make the border black; on each side, 0.5 to 1 times `amount` of the height or width."""
    rows, columns = _content(image)
    height, width = rows.stop - rows.start, columns.stop - columns.start
    top, bottom = np.rint(rng.uniform(0.5, 1, 2) * amount * height).astype(int)
    left, right = np.rint(rng.uniform(0.5, 1, 2) * amount * width).astype(int)
    visible = (
        slice(rows.start + top, rows.stop - bottom),
        slice(columns.start + left, columns.stop - right),
    )
    changed = np.zeros_like(image)
    changed[visible] = image[visible]
    return changed


def _amounts(mild: float, medium: float, strong: float) -> dict[str, float]:
    return dict(zip(STRENGTHS, (mild, medium, strong), strict=True))


SHIFTS = {
    "exposure": Shift(
        exposure,
        "share of the grey range, brighter or darker",
        _amounts(0.04, 0.12, 0.25),
        "The grey value is linear in the logarithm of the exposure, so another exposure adds a "
        "constant. With a gradient of 2.8 and a density range of 2.8 the amounts are 10 %, 32 % "
        "and 78 % of the dose; one step of a generator's mAs dial is 25 %.",
    ),
    "gamma": Shift(
        gamma,
        "natural logarithm of the exponent, positive or negative",
        _amounts(0.08, 0.25, 0.6),
        "Lookup tables differ between manufacturers; displays of gamma 1.8 and 2.2 differ by 0.2.",
    ),
    "contrast": Shift(
        contrast,
        "natural logarithm of the factor, positive or negative",
        _amounts(0.08, 0.25, 0.6),
        "Tube voltage, scatter and window width. Medium is a window of 1.28 times the width.",
    ),
    "blur": Shift(
        blur,
        "standard deviation, share of the side",
        _amounts(0.002, 0.004, 0.008),
        "Focal spot, motion of a breathing child, scanner optics: at 224 px 0.4, 0.9 and 1.8 px, "
        "on an image of 30 cm 0.6, 1.2 and 2.4 mm. Below 100 px mild blur changes no pixel.",
    ),
    "noise": Shift(
        noise,
        "standard deviation, share of the grey range",
        _amounts(0.01, 0.03, 0.06),
        "Quantum noise that remains after the reduction to the square. Mild noise is as faint as "
        "the noise of the image itself; strong noise hides fine vessels.",
    ),
    "jpeg": Shift(
        jpeg,
        "quality, 1 to 95",
        _amounts(80, 50, 15),
        "Images are sent and uploaded as JPEG. Blocks of 8 px cover more of the chest in the "
        "square than in a full-size file, so the qualities are higher than those of mail programs.",
    ),
    "zoom": Shift(
        zoom,
        "share of the side, enlarged or reduced",
        _amounts(0.03, 0.10, 0.20),
        "Distance, cassette size and manual cropping. At 0.20 the crop begins to lose the lung "
        "apices and the costophrenic angles.",
    ),
    "rotation": Shift(
        rotation,
        "degrees, in either direction",
        _amounts(2, 6, 15),
        "A child is not always straight. Below 2 degrees nobody would correct the image; at 15 "
        "everybody would.",
    ),
    "resolution": Shift(
        resolution,
        "share of the side",
        _amounts(0.75, 0.5, 0.25),
        "Thumbnails and screenshots: at 224 px 168, 112 and 56 px. Published networks reach an AUC "
        "of .944 on this data set at 28 px, and .956 at 224 px (MedMNIST v2).",
    ),
    "collimator": Shift(
        collimator,
        "share of the image's height or width behind a blade",
        _amounts(0.02, 0.06, 0.12),
        "Blades in the beam, shown black by the viewer; each covers 0.5 to 1 times the amount. At "
        "0.12 they reach the lateral chest wall.",
    ),
    "inversion": Shift(
        inversion,
        "inverted or not",
        {"strong": 1},
        "A DICOM file of MONOCHROME1 read as MONOCHROME2. This is an error of the software, not a "
        "property of the image, so the choice between models does not use it.",
    ),
}


def _direction(rng: np.random.Generator) -> int:
    return int(rng.integers(2)) * 2 - 1


def _content(square: Pixels) -> tuple[slice, slice]:
    """Find the rows and columns of the X-ray, without the black padding that `decode` adds."""
    bright = square > BLACK
    rows, columns = np.flatnonzero(bright.any(1)), np.flatnonzero(bright.any(0))
    if not len(rows):
        return slice(0, len(square)), slice(0, len(square))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _change_content(
    square: Pixels, change: Callable[[NDArray[np.float32]], NDArray[np.floating]]
) -> Pixels:
    changed = square.copy()
    content = _content(square)
    changed[content] = _as_pixels(change(square[content].astype(np.float32)))
    return changed


def _as_pixels(values: NDArray[np.floating]) -> Pixels:
    return np.rint(np.clip(values, 0, 255)).astype(np.uint8)


def _affine(image: Pixels, enlarge: NDArray[np.float64]) -> Pixels:
    """Move each point p (relative to the centre) to `enlarge` times p; empty pixels are black."""
    back = np.linalg.inv(enlarge)
    centre = np.full(2, len(image) / 2)
    offset = centre - back @ centre
    terms = (*back[0], offset[0], *back[1], offset[1])
    return np.asarray(
        Image.fromarray(image).transform(
            image.shape, Image.Transform.AFFINE, terms, Image.Resampling.BILINEAR, fillcolor=0
        )
    )
