"""Augmentation: random changes of a training image, drawn again at every step.

The changes imitate differences between real X-rays: positioning (rotation, zoom, shift), file
format (aspect), exposure (contrast, brightness, gamma), sharpness (blur), quantum noise, and the
blades of the collimator. Images are not mirrored: in a mirrored chest, the heart is on the wrong
side.

The aspect matters most on the Kermany set. Many images in copies of it were squeezed into squares,
NORMAL images from 1.25 to 1 and PNEUMONIA images from 1.51 to 1. Without changes of the aspect, a
network can read the label from the proportions.

To add an operation, write a function and list it in `OPERATIONS`, add the names of its random
numbers at the end of `DRAWS`, and add a param to `AugmentParams` and params.yaml.
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

    Every draw is stateless (Salmon et al. 2011): only the seed and the position in the batch decide
    how an image changes. Threads, devices, hosts and a resumed training make no difference. An
    image changes in a part of a batch as in the whole batch, except for rounding (about one grey
    value in a million).

    Args:
        images: uint8, (N, S, S, 1).
        params: how far each change may go.
        seed: the seed of all draws, int32, (2,).
        offset: the position of the first image in the batch, from 0.
        batch_size: the size of the batch if `images` is a part of it; 0 if it is a whole batch.

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
    # Some images stay unchanged, because the network will see unchanged images in use.
    return tf.where(_per_image(draws["plain"]) < 2 * params.plain - 1, images, changed)


def _move(images: tf.Tensor, draws: Draws, params: AugmentParams) -> tf.Tensor:
    """Rotate, zoom, stretch and shift; the area outside the source image is black."""
    import tensorflow as tf

    side = images.shape[1]
    angle = draws["rotation"] * (params.rotation * math.pi / 180)
    zoom = 1 + draws["zoom"] * params.zoom
    aspect = tf.exp(draws["aspect"] * params.aspect / 2)
    # The matrix maps output pixels to source pixels, about the centre: scale, rotate, shift.
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
    """Blur or sharpen. (`_move` blurs images; without this, unchanged images are the sharpest.)"""
    import tensorflow as tf

    if not params.blur:
        return images
    weight = _per_image(draws["blur"] * params.blur)
    kernel = _gaussian(images.shape[1])
    return images + weight * (tf.nn.conv2d(images, kernel, 1, "SAME") - images)


def _gamma(images: tf.Tensor, draws: Draws, params: AugmentParams) -> tf.Tensor:
    import tensorflow as tf

    # Sharpening can give negative values, and a power of a negative value is NaN.
    return tf.pow(tf.maximum(images, 0.0), _per_image(tf.exp(draws["gamma"] * params.gamma)))


def _contrast(images: tf.Tensor, draws: Draws, params: AugmentParams) -> tf.Tensor:
    import tensorflow as tf

    return (images - 0.5) * _per_image(tf.exp(draws["contrast"] * params.contrast)) + 0.5


def _brightness(images: tf.Tensor, draws: Draws, params: AugmentParams) -> tf.Tensor:
    return images + _per_image(draws["brightness"] * params.brightness)


def _noise(images: tf.Tensor, draws: Draws, params: AugmentParams) -> tf.Tensor:
    """Add noise with a strength from 0 to the limit, so some training images have almost none."""
    return images + _per_image(abs(draws["noise"]) * params.noise) * draws["normal"]


def _collimate(images: tf.Tensor, draws: Draws, params: AugmentParams) -> tf.Tensor:
    """Blacken the edges of about half of the images. A blade covers nothing or up to the limit."""
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


# The order in which operations are applied. Input and output: float32 (N, S, S, 1), 0 to 1.
OPERATIONS: list[Operation] = [_move, _blur, _gamma, _contrast, _brightness, _noise, _collimate]


def _per_image(values: tf.Tensor) -> tf.Tensor:
    """Reshape (N,) to (N, 1, 1, 1)."""
    return values[:, None, None, None]


def _normal(shape: tf.Tensor, seed: tf.Tensor, start: int) -> tf.Tensor:
    """Draw the numbers of `tf.random.stateless_normal`, but only from number `start` on.

    The Philox generator makes four numbers from each value of its counter (Salmon et al. 2011,
    table 2). So a host can draw the noise of its own images without the noise of the other hosts.
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
    """A blur kernel (7, 7, 1, 1); the standard deviation is 1.5 px of 224, at least 0.5 px."""
    deviation = max(0.5, 1.5 * side / 224)
    profile = np.exp(-(np.arange(-3, 4) ** 2) / (2 * deviation**2))
    kernel = np.outer(profile, profile) / profile.sum() ** 2
    return kernel[..., None, None].astype(np.float32)
