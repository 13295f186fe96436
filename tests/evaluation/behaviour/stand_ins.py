"""Stand-ins for a trained model, sound and broken: functions from images to probabilities."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import laplace

from pneumonia.evaluation.behaviour import MOVED, BehaviourImages, PredictImages, Probabilities
from pneumonia.stats.calibration import sigmoid

Images = NDArray[np.uint8]
THRESHOLD = 0.5
# Slope of the logit by standard deviation: a stand-in is certain of most images.
STEEP = 16


def knowing(xrays: BehaviourImages) -> PredictImages:
    """A model that remembers the X-rays: how near each is to its version with an opacity."""
    ill = (xrays.labels == 1)[:, None]
    plain, other = _flat(xrays.original), _flat(xrays.swapped)
    well = np.where(ill, other, plain)
    way = np.where(ill, plain, other) - well
    middle, length = well + way / 2, (way**2).sum(1)

    def predict(images: Images) -> Probabilities:
        given = np.stack([_flat(one) for one in _displaced(images)])  # (5, N, pixels)
        # Squared distance from each patient, but for what is the same for all: (N, 5 * patients).
        far = np.concatenate((middle**2).sum(1) - 2 * given @ middle.T, axis=1)
        which, nearest = np.divmod(far.argmin(1), len(middle))
        best = given[which, np.arange(len(images))]
        along = ((best - well[nearest]) * way[nearest]).sum(1) / length[nearest]
        return sigmoid(STEEP * (along - 0.5))

    return predict


def inverted(predict: PredictImages) -> PredictImages:
    """The same model with the classes exchanged."""
    return lambda images: 1 - predict(images)


def constant(probability: float) -> PredictImages:
    """The same probability for every image."""
    return lambda images: np.full(len(images), probability)


def random_probability(images: Images) -> Probabilities:
    """Another probability for every image that differs in a single pixel."""
    drawn = [hashlib.sha256(image.tobytes()).digest()[0] / 255 for image in images]
    return np.array(drawn)


def reader(
    figure: Callable[[Images], NDArray[np.float64]], xrays: BehaviourImages
) -> PredictImages:
    """A model that sees one figure of an image: pneumonia if it is above the median."""
    known = figure(xrays.original)
    return lambda images: sigmoid(STEEP * (figure(images) - np.median(known)) / known.std())


def brightness(images: Images) -> NDArray[np.float64]:
    """Mean grey, (N,)."""
    return images.mean(axis=(1, 2, 3))


def border(images: Images) -> NDArray[np.float64]:
    """Mean grey of the outermost three pixels on the left and above, (N,)."""
    return (images[:, :3].mean(axis=(1, 2, 3)) + images[:, :, :3].mean(axis=(1, 2, 3))) / 2


def sharpness(images: Images) -> NDArray[np.float64]:
    """Amount of the finest detail, (N,): grain, noise, ringing, edges."""
    fine = laplace(images.astype(np.float64), axes=(1, 2))
    return np.log(np.median(np.abs(fine), axis=(1, 2, 3)) + np.abs(fine).mean(axis=(1, 2, 3)))


def _displaced(images: Images) -> list[Images]:
    """The images, and the images moved in four directions."""
    step = round(MOVED * images.shape[1])
    ways = [(0, 0), (0, step), (0, -step), (step, 0), (-step, 0)]
    return [np.roll(images, way, axis=(1, 2)) for way in ways]


def _flat(images: Images) -> NDArray[np.float32]:
    """Images as rows with mean 0 and standard deviation 1, without exposure and contrast."""
    rows = images[:, ::2, ::2].reshape(len(images), -1).astype(np.float32)
    return (rows - rows.mean(1, keepdims=True)) / rows.std(1, keepdims=True)
