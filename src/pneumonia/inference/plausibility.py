"""Check whether an image looks like the training images, without a network and without labels.

A network is confident about any image, even a page of text. So each image is compared with the
statistics of the training images. Black edges are cut off, and the image is reduced to 32x32 px and
standardised; this removes framing and exposure. Then three values must be within the range of
ordinary images:

- distance, by probabilistic principal components (Tipping & Bishop 1999, J. R. Stat. Soc. B 61(3)):
  the squared Mahalanobis distance within the components plus the residual outside them. Each of the
  two terms is divided by its mean over the training images.
- likeness: the correlation with the mean image.
- detail: the median absolute Laplacian. Gradients and some drawings are smoother than X-rays.

A turned or inverted image is recognised because its distance falls when it is corrected.
docs/explanation/warnings.md has measurements of the images that the limits detect or miss.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pneumonia.core.errors import InputError

# benchmarks/plausibility.py chose both on the Kermany set: with 16 or 64 px a drawn limb passes as
# a chest; with 32 components a drawn abdomen passes; with 128, more tilted X-rays get a warning.
SIDE = 32  # side of the thumbnail, px
COMPONENTS = 64
IMAGES = 1000  # per split, for the fit; with 4,000 (Kermany) the distance limit is 6 % lower
# The statistics are fitted to the images and to versions that imitate another hospital, so that a
# slightly tilted X-ray gets no warning. Other shifts hardly change the thumbnail of an image of
# 128 px or more.
SHIFTS = ("exposure", "gamma", "contrast", "zoom", "rotation", "collimator")
STRENGTH = "medium"
# Distance of a limit from the median of ordinary images, in robust standard deviations (1.4826
# times the median absolute deviation). In a normal distribution, one image in 2,000 is outside.
# Quantiles would depend on very few images if the validation set is small.
LIMIT_DEVIATIONS = 3.3
BLACK = 8  # highest grey level of padding and shutters
# A row or column belongs to the X-ray if more than this share is not black; markers fill less.
FILLED = 0.05
LEAST_SPREAD = 1.0  # grey levels; prevents a division by 0 for an empty image
TINY = 1e-4  # replaces 0 in divisors and logarithms, for sets of very few images

# Wrong orientations, each with the function that corrects images (..., H, W).
TURNS: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "turned a quarter to the left": lambda image: np.rot90(image, -1, (-2, -1)),
    "turned a quarter to the right": lambda image: np.rot90(image, 1, (-2, -1)),
    "turned by 180 degrees": lambda image: np.rot90(image, 2, (-2, -1)),
    "upside down": lambda image: image[..., ::-1, :],
}
_PLACES = np.arange(SIDE**2).reshape(SIDE, SIDE)
# The order of a thumbnail's pixels: unchanged, and after each correction: (5, 1024).
_TURNED = np.stack([_PLACES.ravel(), *(correct(_PLACES).ravel() for correct in TURNS.values())])
INVERTED = "inverted"
Shifted = Callable[..., NDArray[np.uint8]]
# An image counts as inverted or turned if the correction divides its distance by at least this.
# On the validation images of the Kermany set, the factor is at most 1.24 for X-rays turned by 15
# degrees, and at least 1.33 for X-rays turned by 180 degrees.
NEARER = 1.2


@dataclass(frozen=True)
class PlausibilityVerdict:
    """The result of the comparison for one image."""

    plausible: bool  #: the image, as sent or corrected, looks like a chest X-ray
    #: `INVERTED` or a key of `TURNS`; empty if the image is upright, or if no correction makes it
    #: plausible.
    orientation: str
    exposed: bool  #: brightness and contrast are within the range of ordinary images


@dataclass(frozen=True)
class Plausibility:
    """Statistics of the training images, and the limits of ordinary images."""

    mean: NDArray[np.float32]  #: the mean thumbnail, float32, (1024,)
    components: NDArray[np.float32]  #: principal components, orthonormal, float32, (K, 1024)
    variances: NDArray[np.float32]  #: variance along each component, float32, (K,), above 0
    #: mean squared length of the part outside the components, float32, (), above 0.
    residual: NDArray[np.float32]
    distance: NDArray[np.float32]  #: upper limit of the distance, float32, ()
    likeness: NDArray[np.float32]  #: lower limit of the likeness, -1 to 1, float32, ()
    detail: NDArray[np.float32]  #: lower limit, in standard deviations of the image, float32, ()
    #: lower and upper limit of the mean grey, 0 to 255, float32, (2,).
    brightness: NDArray[np.float32]
    #: lower and upper limit of the standard deviation of grey, float32, (2,).
    contrast: NDArray[np.float32]

    def judge(self, square: NDArray[np.uint8]) -> PlausibilityVerdict:
        """Check a grey square, uint8, (S, S), that `decode` made from a file."""
        content = _content(square)
        thumbnails = np.stack([_thumbnail(content), _thumbnail(_content(255 - content))])
        original, negative = _standardised(thumbnails)
        # The image as sent, after the correction of each turn, and as a negative.
        candidates = np.vstack([original[_TURNED], negative])
        distances = self.distances(candidates)
        nearest = int(np.argmin(distances))
        if distances[0] < NEARER * distances[nearest]:
            nearest = 0
        orientation = ("", *TURNS, INVERTED)[nearest]
        best = candidates[nearest : nearest + 1]
        plausible = bool(
            distances[nearest] <= self.distance
            and _likeness(best, self.mean)[0] >= self.likeness
            and _detail(best)[0] >= self.detail
        )
        exposed = bool(
            self.brightness[0] <= thumbnails[0].mean() <= self.brightness[1]
            and self.contrast[0] <= thumbnails[0].std() <= self.contrast[1]
        )
        return PlausibilityVerdict(plausible, orientation if plausible else "", exposed)

    def distances(self, thumbnails: NDArray[np.floating]) -> NDArray[np.floating]:
        """The distances (N,) of standardised thumbnails (N, 1024), in the same dtype.

        Their mean is about 2. `fit` uses float64; for one image, float32 is precise enough.
        """
        axes, weights = self._axes if thumbnails.dtype == np.float32 else self._precise_axes
        centred = thumbnails - self.mean
        squares = (centred @ axes) ** 2
        return np.asarray(squares @ weights + (centred**2).sum(1) / self.residual)

    @cached_property
    def _precise_axes(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The components as columns, and each component's weight minus the residual's."""
        weights = 1 / (len(self.variances) * self.variances.astype(np.float64))
        return self.components.T.astype(np.float64), weights - 1 / np.float64(self.residual)

    @cached_property
    def _axes(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        axes, weights = self._precise_axes
        return axes.astype(np.float32), weights.astype(np.float32)

    def save(self, path: Path) -> None:
        """Write an .npz file without pickles; the same statistics give the same bytes."""
        with path.open("wb") as file:
            np.savez(file, **asdict(self))


def load(path: Path) -> Plausibility:
    """Read the file that `Plausibility.save` wrote.

    Raises:
        InputError: the file is missing or damaged, or another version wrote it.
    """
    names = [field.name for field in fields(Plausibility)]
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in names}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; `dvc repro evaluate` writes it") from None
    except Exception as error:
        # NumPy and zipfile raise many kinds of errors on a damaged file.
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not a file of image statistics ({reason})") from None
    count = len(arrays["components"]) if arrays["components"].ndim else 0
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(names, ())
    shapes |= {"mean": (SIDE**2,), "components": (count, SIDE**2), "variances": (count,)}
    shapes |= {"brightness": (2,), "contrast": (2,)}
    for name, array in arrays.items():
        if array.dtype != np.float32 or array.shape != shapes[name] or not np.isfinite(array).all():
            raise InputError(f"{path}: not a file of image statistics ({name} has the wrong form)")
    return Plausibility(**arrays)


def fit(train: NDArray[np.uint8], validation: NDArray[np.uint8], shifted: Shifted) -> Plausibility:
    """Fit the statistics to training images and the limits to validation images, without labels.

    Both sets are images (N, S, S, 1) from `prepare`. They are used unchanged and under each of the
    `SHIFTS`; `shifted` is `evaluation.shifts.shifted`, which makes the shifts.
    """
    thumbnails = _standardised(_versions(train, shifted)).astype(np.float64)
    mean = thumbnails.mean(0)
    centred = thumbnails - mean
    spread, axes = np.linalg.eigh(centred.T @ centred / len(centred))
    count = min(COMPONENTS, len(centred))
    variances = np.maximum(spread[::-1][:count], TINY)
    components = axes[:, ::-1][:, :count].T
    # The sign of an eigenvector depends on the library, so the signs are fixed here.
    strongest = np.abs(components).argmax(1)
    components *= np.sign(components[np.arange(count), strongest])[:, None]
    residual = max(float(spread[:-count].sum()), TINY)
    parts = {"mean": mean, "components": components, "variances": variances, "residual": residual}
    no_limits = dict.fromkeys(("distance", "likeness", "detail", "brightness", "contrast"), 0)
    statistics = _as_plausibility(parts | no_limits)
    ordinary = _versions(validation, shifted)
    grey = ordinary.reshape(len(ordinary), -1)
    # On these scales, each value is about normally distributed over the ordinary images.
    standard = _standardised(ordinary)
    distance = _log(statistics.distances(standard.astype(np.float64)))
    likeness = np.arctanh(np.clip(_likeness(standard, statistics.mean), -1 + TINY, 1 - TINY))
    detail = _log(_detail(standard))
    limits = {
        "distance": np.exp(_limits(distance)[1]),
        "likeness": np.tanh(_limits(likeness)[0]),
        "detail": np.exp(_limits(detail)[0]),
        "brightness": _limits(grey.mean(1)),
        "contrast": np.exp(_limits(_log(grey.std(1)))),
    }
    return _as_plausibility(parts | limits)


def _log(values: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.log(np.maximum(values, TINY))


def _limits(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """The lower and the upper limit for values of ordinary images, (2,)."""
    middle = np.median(values)
    margin = LIMIT_DEVIATIONS * (1.4826 * np.median(np.abs(values - middle)))
    return np.array([middle - margin, middle + margin])


def _as_plausibility(parts: dict[str, Any]) -> Plausibility:
    # The values are rounded because their last bits depend on the number of threads. An error of
    # 1e-5 is small: a component's values are about 1 / 32.
    rounded = {name: np.round(np.asarray(part, np.float64), 5) for name, part in parts.items()}
    return Plausibility(**{name: part.astype(np.float32) for name, part in rounded.items()})


def _versions(images: NDArray[np.uint8], shifted: Shifted) -> NDArray[np.float32]:
    """Thumbnails of images (N, S, S, 1), unchanged and with each shift: ((1 + 6) N, 32, 32)."""
    ids = [str(row) for row in range(len(images))]
    versions = [images, *(shifted(images, ids, shift, STRENGTH, seed=0) for shift in SHIFTS)]
    return np.stack([_thumbnail(_content(image[..., 0])) for image in chain(*versions)])


def _content(square: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Cut padding and shutters off the square; a black square stays whole."""
    bright = square > BLACK
    rows = np.flatnonzero(np.count_nonzero(bright, axis=1) > FILLED * bright.shape[1])
    columns = np.flatnonzero(np.count_nonzero(bright, axis=0) > FILLED * bright.shape[0])
    if not len(rows) or not len(columns):
        return square
    return square[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _thumbnail(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Average the grey of an image of any size in 32x32 tiles: float32, (32, 32)."""
    tiles = Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(tiles, np.float32)


def _standardised(thumbnails: NDArray[np.float32]) -> NDArray[np.float32]:
    """Reshape (N, 32, 32) to (N, 1024), with mean 0 and standard deviation 1 per image."""
    flat = thumbnails.reshape(len(thumbnails), -1)
    spread = np.maximum(flat.std(1, keepdims=True), LEAST_SPREAD)
    return (flat - flat.mean(1, keepdims=True)) / spread


def _likeness(thumbnails: NDArray[np.float32], mean: NDArray[np.float32]) -> NDArray[np.float32]:
    """The correlations (N,) of standardised thumbnails (N, 1024) with the mean image."""
    length = max(float(np.linalg.norm(mean)), TINY)
    return thumbnails @ mean / (length * SIDE)


def _detail(thumbnails: NDArray[np.float32]) -> NDArray[np.float32]:
    """The medians (N,) of the absolute Laplacian of standardised thumbnails (N, 1024)."""
    grid = thumbnails.reshape(-1, SIDE, SIDE)
    inner = grid[:, 1:-1, 1:-1]
    around = grid[:, :-2, 1:-1] + grid[:, 2:, 1:-1] + grid[:, 1:-1, :-2] + grid[:, 1:-1, 2:]
    return np.median(np.abs(4 * inner - around), axis=(1, 2))
