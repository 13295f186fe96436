"""Augmentation: random changes of a training image, drawn again at every step.

They imitate what can happen to an X-ray between the patient and the file: positioning (rotation,
zoom, shift), file format (aspect), exposure (contrast, brightness, gamma), sharpness (blur),
quantum noise, and the blades of the collimator. There is no mirroring: a mirrored chest has its
heart on the wrong side.

The aspect matters most on the Kermany set. Many copies of it were squeezed into squares, NORMAL
images from 1.25 to 1 and PNEUMONIA images from 1.51 to 1, so a network that may rely on proportions
reads the label from them.

A new operation is a function in `OPERATIONS`, the names of its random numbers at the end of
`DRAWS`, and a param in `AugmentParams` and params.yaml.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pneumonia.core.config import AugmentParams

if TYPE_CHECKING:
    import tensorflow as tf


# The random numbers that each image gets, in the order in which they are drawn.
DRAWS = (
    "rotation", "zoom", "shift_x", "shift_y", "gamma", "contrast", "brightness", "aspect", "blur",
    "blade_top", "blade_bottom", "blade_left", "blade_right", "collimator", "noise", "plain",
)  # fmt: skip
Draws = dict[str, "tf.Tensor"]  # by name: (N,), -1 to 1; "normal": (N, S, S, 1), standard normal
Operation = Callable[["tf.Tensor", Draws, AugmentParams], "tf.Tensor"]


def augment(
    images: tf.Tensor, params: AugmentParams, seed: tf.Tensor, offset: int = 0, batch_size: int = 0
) -> tf.Tensor:
    """Change each image of a batch in its own way.

    Every draw is stateless (Salmon et al. 2011): seed and position in the batch alone decide how an
    image changes, on any number of threads, devices and hosts, and after a training is resumed. A
    part of a batch changes as it does in the whole batch, but for the rounding of about one grey
    value in a million.

    Args:
        images: uint8, (N, S, S, 1).
        params: how far each change may go.
        seed: int32, (2,).
        offset: position in the batch, from 0, of the first of `images`.
        batch_size: images in the batch, where `images` are a part of it; 0: they are the batch.

    Returns:
        uint8, (N, S, S, 1).
    """
    import tensorflow as tf

    count, side = tf.shape(images)[0], images.shape[1]
    uniform = tf.random.stateless_uniform((len(DRAWS), batch_size or count), seed, -1.0, 1.0)
    if batch_size:
        uniform = uniform[:, offset : offset + count]
        normal = _normal(tf.shape(images), seed + 1, offset * side * side)
    else:
        normal = tf.random.stateless_normal(tf.shape(images), seed + 1)
    draws = {name: uniform[row] for row, name in enumerate(DRAWS)} | {"normal": normal}
    changed = tf.cast(images, tf.float32) / 255
    for operation in OPERATIONS:
        changed = operation(changed, draws, params)
    changed = tf.cast(tf.round(tf.clip_by_value(changed, 0, 1) * 255), tf.uint8)
    # Some images stay as they are: unchanged images are what the network will see in use.
    return tf.where(_per_image(draws["plain"]) < 2 * params.plain - 1, images, changed)


def _move(images: tf.Tensor, draws: Draws, params: AugmentParams) -> tf.Tensor:
    """Rotate, zoom, stretch and shift; what comes in from outside is black."""
    import tensorflow as tf

    side = images.shape[1]
    angle = draws["rotation"] * (params.rotation * math.pi / 180)
    zoom = 1 + draws["zoom"] * params.zoom
    aspect = tf.exp(draws["aspect"] * params.aspect / 2)
    # From output to source pixels, about the centre: scale, rotate, shift.
    width, height = zoom * aspect, zoom / aspect
    cos, sin = tf.cos(angle), tf.sin(angle)
    centre = (side - 1) / 2
    x = centre * (1 - cos * width + sin * height) + draws["shift_x"] * params.shift * side
    y = centre * (1 - sin * width - cos * height) + draws["shift_y"] * params.shift * side
    zero = tf.zeros_like(cos)
    rows = [cos * width, -sin * height, x, sin * width, cos * height, y, zero, zero]
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images, transforms=tf.stack(rows, axis=1), output_shape=[side, side],
        interpolation="BILINEAR", fill_mode="CONSTANT", fill_value=0.0,
    )  # fmt: skip


def _blur(images: tf.Tensor, draws: Draws, params: AugmentParams) -> tf.Tensor:
    """Blur or sharpen. (Moving an image blurs it: unchanged images must not be the sharpest.)"""
    import tensorflow as tf

    if not params.blur:
        return images
    weight = _per_image(draws["blur"] * params.blur)
    kernel = _gaussian(images.shape[1])
    return images + weight * (tf.nn.conv2d(images, kernel, 1, "SAME") - images)


def _gamma(images: tf.Tensor, draws: Draws, params: AugmentParams) -> tf.Tensor:
    import tensorflow as tf

    # Sharpening can give negative values, whose power is not a number.
    return tf.pow(tf.maximum(images, 0.0), _per_image(tf.exp(draws["gamma"] * params.gamma)))


def _contrast(images: tf.Tensor, draws: Draws, params: AugmentParams) -> tf.Tensor:
    import tensorflow as tf

    return (images - 0.5) * _per_image(tf.exp(draws["contrast"] * params.contrast)) + 0.5


def _brightness(images: tf.Tensor, draws: Draws, params: AugmentParams) -> tf.Tensor:
    return images + _per_image(draws["brightness"] * params.brightness)


def _noise(images: tf.Tensor, draws: Draws, params: AugmentParams) -> tf.Tensor:
    """Add noise of a strength from 0 to the limit, so that clean images occur in training, too."""
    return images + _per_image(abs(draws["noise"]) * params.noise) * draws["normal"]


def _collimate(images: tf.Tensor, draws: Draws, params: AugmentParams) -> tf.Tensor:
    """Blacken the edges of half of the images: each blade covers up to the limit, or nothing."""
    import tensorflow as tf

    if not params.collimator:
        return images
    side = images.shape[1]
    position = (tf.range(side, dtype=tf.float32) + 0.5) / side

    def covered(blade: str) -> tf.Tensor:
        cover = tf.maximum(draws[blade], 0.0) * params.collimator
        return tf.where(draws["collimator"] > 0, cover, 0.0)[:, None]

    def visible(near: str, far: str) -> tf.Tensor:
        inside = (position >= covered(near)) & (position <= 1 - covered(far))
        return tf.cast(inside, tf.float32)

    images *= visible("blade_top", "blade_bottom")[:, :, None, None]
    return images * visible("blade_left", "blade_right")[:, None, :, None]


# In the order in which they are applied: float32 images (N, S, S, 1), 0 to 1, in and out.
OPERATIONS: list[Operation] = [_move, _blur, _gamma, _contrast, _brightness, _noise, _collimate]


def _per_image(values: tf.Tensor) -> tf.Tensor:
    """From (N,) to (N, 1, 1, 1)."""
    return values[:, None, None, None]


def _normal(shape: tf.Tensor, seed: tf.Tensor, start: int) -> tf.Tensor:
    """The numbers of `tf.random.stateless_normal` from number `start` on, without those before.

    Philox makes four numbers of each value of its counter (Salmon et al. 2011, table 2), so a host
    need not draw the noise of the other hosts to get its own.
    """
    import tensorflow as tf

    key, counter = tf.raw_ops.StatelessRandomGetKeyCounter(seed=seed)
    counter += tf.constant([start // 4, 0], tf.uint64)
    skipped, size = start % 4, tf.reduce_prod(shape)
    numbers = tf.raw_ops.StatelessRandomNormalV2(
        shape=[skipped + size], key=key, counter=counter, alg=tf.random.Algorithm.PHILOX.value
    )
    return tf.reshape(numbers[skipped:], shape)


def _gaussian(side: int) -> NDArray[np.float32]:
    """A kernel (7, 7, 1, 1) whose standard deviation is 1.5 px of 224, at least half a pixel."""
    deviation = max(0.5, 1.5 * side / 224)
    profile = np.exp(-(np.arange(-3, 4) ** 2) / (2 * deviation**2))
    kernel = np.outer(profile, profile) / profile.sum() ** 2
    return kernel[..., None, None].astype(np.float32)
