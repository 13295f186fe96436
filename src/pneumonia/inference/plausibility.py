"""Whether a picture looks like the images that the model was trained on; no network, no labels.

A network answers any picture, and with confidence: a page of text has a probability too. So a
picture is held against the training images' own statistics. It is cropped to what is not black,
reduced to 32x32 px and standardised, which takes framing and exposure out; then three figures are
asked, each within what ordinary images have:

- distance: by probabilistic principal components (Tipping & Bishop 1999, J. R. Stat. Soc. B 61(3)),
  the squared Mahalanobis distance within the components and the residual beside them, each in
  units of its mean over the training images;
- likeness: correlation with the mean image, which small thumbnails of chest X-rays share;
- detail: median of the absolute Laplacian; gradients and some drawings are smoother than images.

Turned and inverted images need no figures of their own: turned back, such a picture is nearer than
as it came. What the limits catch and what they let through is measured in
docs/explanation/warnings.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pneumonia.core.errors import InputError
from pneumonia.evaluation.shifts import BLACK, shifted

# By benchmarks/plausibility.py on the Kermany set: at 16 or 64 px a drawn limb passes for a chest,
# with 32 components a drawn abdomen; with 128 more images are found wanting that lie askew.
SIDE = 32  # px of the thumbnail
COMPONENTS = 64
IMAGES = 1000  # of a split to fit to; of the Kermany set 4,000 lower the distance's limit by 6 %
# Images enter as they are and as another hospital would give them, so that nobody is warned of a
# image that is a little askew. The other shifts of the suite hardly change 32x32 px of images of 128
# px and more.
SHIFTS = ("exposure", "gamma", "contrast", "zoom", "rotation", "collimator")
STRENGTH = "medium"
# Robust standard deviations (median, 1.4826 times the median absolute deviation) from the median of
# ordinary images to a limit; of a normal distribution one image in 2,000 lies beyond. Quantiles would
# rest on a handful of images where validation is small.
FAR = 3.3
# A row or column is image where more of it is not black: a marker on a black rim is none.
FILLED = 0.05
LEAST_SPREAD = 1.0  # grey levels; less is no picture, and would be divided by
TINY = 1e-4  # in place of 0, from a set of an image or two, where 0 would be divided by

# Ways an image comes wrong, and what puts it right, of (..., H, W).
TURNS: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "turned a quarter to the left": lambda image: np.rot90(image, -1, (-2, -1)),
    "turned a quarter to the right": lambda image: np.rot90(image, 1, (-2, -1)),
    "turned by 180 degrees": lambda image: np.rot90(image, 2, (-2, -1)),
    "upside down": lambda image: image[..., ::-1, :],
}
_PLACES = np.arange(SIDE**2).reshape(SIDE, SIDE)
# Where a thumbnail's pixels are taken from, as it came and put right from each turn: (5, 1024).
_TURNED = np.stack([_PLACES, *(back(_PLACES) for back in TURNS.values())]).reshape(-1, SIDE**2)
INVERTED = "inverted"
# An image counts as inverted or turned if put right it is nearer by this factor. Images turned by 15
# degrees are by 1.24 at most, those turned by 180 by 1.33 at least (Kermany set, validation).
NEARER = 1.2


@dataclass(frozen=True)
class PlausibilityVerdict:
    """What the statistics say of one picture.

    Attributes:
        plausible: a chest X-ray, as it came or put right.
        wrong: how it came, `INVERTED` or a key of `TURNS`; empty for an upright image, and where
            nothing puts it right.
        exposed: brightness and contrast are within those of ordinary images.
    """

    plausible: bool
    wrong: str
    exposed: bool


@dataclass(frozen=True)
class Plausibility:
    """Statistics of the training images, and the limits beyond which hardly any image lies.

    Attributes:
        mean: of the thumbnails, float32, (1024,).
        components: orthonormal, float32, (K, 1024).
        variances: along them, float32, (K,), above 0.
        residual: mean squared length beside them, float32, (), above 0.
        distance: the largest of an ordinary image, float32, ().
        likeness: the smallest, -1 to 1, float32, ().
        detail: the smallest, in standard deviations of the image, float32, ().
        brightness: least and most mean grey, 0 to 255, float32, (2,).
        contrast: least and most standard deviation of grey, float32, (2,).
    """

    mean: NDArray[np.float32]
    components: NDArray[np.float32]
    variances: NDArray[np.float32]
    residual: NDArray[np.float32]
    distance: NDArray[np.float32]
    likeness: NDArray[np.float32]
    detail: NDArray[np.float32]
    brightness: NDArray[np.float32]
    contrast: NDArray[np.float32]

    def judge(self, square: NDArray[np.uint8]) -> PlausibilityVerdict:
        """Judge the grey square, uint8, (S, S), that `decode` makes of a file."""
        image = _image(square)
        thumbnails = np.stack([_thumbnail(image), _thumbnail(_image(255 - image))])
        upright, negative = _standardised(thumbnails)
        # As it came, put right from each of the turns, and as a negative.
        seen = np.vstack([upright[_TURNED], negative])
        distances = self.distances(seen)
        nearest = int(np.argmin(distances))
        if distances[0] < NEARER * distances[nearest]:
            nearest = 0
        wrong, best = ("", *TURNS, INVERTED)[nearest], seen[nearest : nearest + 1]
        plausible = bool(
            distances[nearest] <= self.distance
            and _likeness(best, self.mean)[0] >= self.likeness
            and _detail(best)[0] >= self.detail
        )
        level, spread = thumbnails[0].mean(), thumbnails[0].std()
        return PlausibilityVerdict(
            plausible=plausible,
            wrong=wrong if plausible else "",
            exposed=bool(
                self.brightness[0] <= level <= self.brightness[1]
                and self.contrast[0] <= spread <= self.contrast[1]
            ),
        )

    def distances(self, seen: NDArray[np.floating]) -> NDArray[np.floating]:
        """Of standardised thumbnails (N, 1024): 2 for the average training image, (N,), their dtype.

        Fitting asks in float64; of one image the limits do not feel the difference to float32.
        """
        axes, weights = self._axes if seen.dtype == np.float32 else self._precise_axes
        centred = seen - self.mean
        squares = (centred @ axes) ** 2
        found: NDArray[np.floating] = squares @ weights + (centred**2).sum(1) / self.residual
        return found

    @cached_property
    def _precise_axes(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Components as columns, and what a square along each counts for beyond the residual."""
        weights = 1 / (len(self.variances) * self.variances.astype(np.float64))
        return self.components.T.astype(np.float64), weights - 1 / np.float64(self.residual)

    @cached_property
    def _axes(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        axes, weights = self._precise_axes
        return axes.astype(np.float32), weights.astype(np.float32)

    def save(self, path: Path) -> None:
        """Write the statistics as an .npz file without pickles; the same bytes for the same."""
        with path.open("wb") as file:
            np.savez(file, **asdict(self))


def load(path: Path) -> Plausibility:
    """Read what `Plausibility.save` wrote.

    Raises:
        InputError: no such file, damaged, or of other statistics than this version's.
    """
    names = [field.name for field in fields(Plausibility)]
    try:
        with np.load(path, allow_pickle=False) as found:
            arrays = {name: found[name] for name in names}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; `dvc repro evaluate` writes it") from None
    except Exception as error:
        # NumPy and zipfile raise nearly anything on a damaged file.
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: no statistics of images ({reason})") from None
    count = len(arrays["components"]) if arrays["components"].ndim else 0
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(names, ()) | {
        "mean": (SIDE**2,),
        "components": (count, SIDE**2),
        "variances": (count,),
        "brightness": (2,),
        "contrast": (2,),
    }
    for name, array in arrays.items():
        if array.dtype != np.float32 or array.shape != shapes[name] or not np.isfinite(array).all():
            raise InputError(f"{path}: no statistics of images ({name} is not as it was written)")
    return Plausibility(**arrays)


def fit(train: NDArray[np.uint8], validation: NDArray[np.uint8]) -> Plausibility:
    """Fit the statistics to training images and the limits to validation images.

    Labels have no part in it. Both sets enter as they are and under the shifts above.

    Args:
        train: uint8, (N, S, S, 1), squares as `prepare` writes them.
        validation: uint8, (M, S, S, 1).
    """
    seen = _standardised(_versions(train)).astype(np.float64)
    mean = seen.mean(0)
    centred = seen - mean
    spread, axes = np.linalg.eigh(centred.T @ centred / len(centred))
    count = min(COMPONENTS, len(centred))
    variances = np.maximum(spread[::-1][:count], TINY)
    components = axes[:, ::-1][:, :count].T
    # An eigenvector's sign is the library's whim.
    strongest = np.abs(components).argmax(1)
    components *= np.sign(components[np.arange(count), strongest])[:, None]
    parts = {
        "mean": mean,
        "components": components,
        "variances": variances,
        "residual": max(float(spread[:-count].sum()), TINY),
    }
    unlimited = dict.fromkeys(("distance", "likeness", "detail", "brightness", "contrast"), 0)
    statistics = _as_plausibility(parts | unlimited)
    ordinary = _versions(validation)
    grey = ordinary.reshape(len(ordinary), -1)
    # On these scales each figure of ordinary images is about normal.
    standard = _standardised(ordinary)
    distance = _log(statistics.distances(standard.astype(np.float64)))
    likeness = np.arctanh(np.clip(_likeness(standard, statistics.mean), -1 + TINY, 1 - TINY))
    detail = _log(_detail(standard))
    return _as_plausibility(
        parts
        | {
            "distance": np.exp(_limits(distance)[1]),
            "likeness": np.tanh(_limits(likeness)[0]),
            "detail": np.exp(_limits(detail)[0]),
            "brightness": _limits(grey.mean(1)),
            "contrast": np.exp(_limits(_log(grey.std(1)))),
        }
    )


def _log(figures: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.log(np.maximum(figures, TINY))


def _limits(figures: NDArray[np.floating]) -> NDArray[np.float64]:
    """Below and above which hardly any ordinary image lies, (2,)."""
    middle = np.median(figures)
    spread = 1.4826 * np.median(np.abs(figures - middle))
    return np.array([middle - FAR * spread, middle + FAR * spread])


def _as_plausibility(parts: dict[str, Any]) -> Plausibility:
    # Rounded, since the last bits hang on how many threads multiplied; 1e-5 of a component is
    # nothing beside the 1 / 32 that it has on average.
    rounded = {name: np.round(np.asarray(part, np.float64), 5) for name, part in parts.items()}
    return Plausibility(**{name: part.astype(np.float32) for name, part in rounded.items()})


def _versions(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Thumbnails of images (N, S, S, 1), as they are and under each shift: ((1 + 6) N, 32, 32)."""
    ids = [str(row) for row in range(len(images))]
    versions = [images, *(shifted(images, ids, shift, STRENGTH, seed=0) for shift in SHIFTS)]
    return np.stack(
        [_thumbnail(_image(image[..., 0])) for version in versions for image in version]
    )


def _image(square: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The image without its padding and shutters; all of a square that is black."""
    bright = square > BLACK
    rows = np.flatnonzero(np.count_nonzero(bright, axis=1) > FILLED * bright.shape[1])
    columns = np.flatnonzero(np.count_nonzero(bright, axis=0) > FILLED * bright.shape[0])
    if not len(rows) or not len(columns):
        return square
    return square[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _thumbnail(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Mean grey in 32x32 tiles, whatever the image's sides: float32, (32, 32)."""
    tiles = Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(tiles, np.float32)


def _standardised(thumbnails: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, 32, 32) to (N, 1024) of mean 0 and standard deviation 1."""
    flat = thumbnails.reshape(len(thumbnails), -1)
    spread = np.maximum(flat.std(1, keepdims=True), LEAST_SPREAD)
    return (flat - flat.mean(1, keepdims=True)) / spread


def _likeness(seen: NDArray[np.float32], mean: NDArray[np.float32]) -> NDArray[np.float32]:
    """Correlation of standardised thumbnails (N, 1024) with the mean image, (N,)."""
    length = max(float(np.linalg.norm(mean)), TINY)
    return seen @ mean / (length * SIDE)


def _detail(seen: NDArray[np.float32]) -> NDArray[np.float32]:
    """Median of the absolute Laplacian of standardised thumbnails (N, 1024), (N,)."""
    seen = seen.reshape(-1, SIDE, SIDE)
    inner = seen[:, 1:-1, 1:-1]
    around = seen[:, :-2, 1:-1] + seen[:, 2:, 1:-1] + seen[:, 1:-1, :-2] + seen[:, 1:-1, 2:]
    return np.median(np.abs(4 * inner - around), axis=(1, 2))
