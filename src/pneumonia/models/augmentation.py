"""What can happen to an image between the patient and the file, drawn anew at every step.

Positioning (rotation, zoom, shift), format (aspect), exposure (contrast, brightness, gamma),
sharpness (blur), quantum noise and the blades of the collimator. No mirroring: a mirrored chest has
its heart on the wrong side.

The aspect matters most on the Kermany set: many copies of it were squashed to squares, NORMAL images
from 1.25 and PNEUMONIA images from 1.51 to 1, so a network that is not made to ignore proportions
reads the label from them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pneumonia.core.config import AugmentParams

if TYPE_CHECKING:
    import tensorflow as tf


def augment(
    images: tf.Tensor, params: AugmentParams, seed: tf.Tensor, first: int = 0, of: int = 0
) -> tf.Tensor:
    """Change each image of a batch in its own way.

    Every draw is stateless (Salmon et al. 2011), so seed and place in the batch alone decide what
    becomes of an image, on any number of threads, devices and hosts, and after a resumption. A part
    of a batch is what it is in the whole, but for the rounding of a grey value in a million.

    Args:
        images: uint8, (N, S, S, 1).
        params: how far each change may go.
        seed: int32, (2,).
        first: place in the batch, from 0, of the first of `images`.
        of: images in the batch, of which `images` are a part; 0: they are all of it.

    Returns:
        uint8, (N, S, S, 1).
    """
    import tensorflow as tf

    count, side = tf.shape(images)[0], images.shape[1]
    draws = tf.random.stateless_uniform((16, of or count), seed, -1.0, 1.0)
    if of:
        draws = draws[:, first : first + count]
    angle = draws[0] * (params.rotation * math.pi / 180)
    zoom, aspect = 1 + draws[1] * params.zoom, tf.exp(draws[7] * params.aspect / 2)
    # From output to source pixels, about the centre: scale, rotate, shift.
    wide, high = zoom * aspect, zoom / aspect
    cos, sin = tf.cos(angle), tf.sin(angle)
    centre = (side - 1) / 2
    across = centre * (1 - cos * wide + sin * high) + draws[2] * params.shift * side
    down = centre * (1 - sin * wide - cos * high) + draws[3] * params.shift * side
    zero = tf.zeros_like(cos)
    changed = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(images, tf.float32) / 255,
        transforms=tf.stack(
            [cos * wide, -sin * high, across, sin * wide, cos * high, down, zero, zero], axis=1
        ),
        output_shape=[side, side],
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
        fill_value=0.0,
    )

    def each_image(values: tf.Tensor) -> tf.Tensor:
        return values[:, None, None, None]

    if params.blur:
        # Either way: turning an image smooths it, and without some that are sharper than they were a
        # image as it is would be the sharpest of all.
        weight = each_image(draws[8] * params.blur)
        changed += weight * (tf.nn.conv2d(changed, _gaussian(side), 1, "SAME") - changed)
    # Sharpening leads below black, where a power is not a number.
    changed = tf.pow(tf.maximum(changed, 0.0), each_image(tf.exp(draws[4] * params.gamma)))
    changed = (changed - 0.5) * each_image(tf.exp(draws[5] * params.contrast)) + 0.5
    changed += each_image(draws[6] * params.brightness)
    # From none to the limit: were there noise on every image, a clean one would be a stranger.
    grain = each_image(tf.abs(draws[14]) * params.noise)
    if of:
        changed += grain * _normal(tf.shape(changed), seed + 1, first * side * side)
    else:
        changed += grain * tf.random.stateless_normal(tf.shape(changed), seed + 1)
    if params.collimator:
        # Half of the images: each blade covers up to the limit, or nothing.
        cover = tf.where(draws[13] > 0, tf.maximum(draws[9:13], 0.0) * params.collimator, 0.0)
        place = (tf.range(side, dtype=tf.float32) + 0.5) / side

        def lit(near: tf.Tensor, far: tf.Tensor) -> tf.Tensor:
            inside = (place >= near[:, None]) & (place <= 1 - far[:, None])
            return tf.cast(inside, tf.float32)

        changed *= lit(cover[0], cover[1])[:, :, None, None]
        changed *= lit(cover[2], cover[3])[:, None, :, None]
    changed = tf.cast(tf.round(tf.clip_by_value(changed, 0, 1) * 255), tf.uint8)
    # Images as they are belong to what is learnt: they are what the network will see.
    return tf.where(each_image(draws[15]) < 2 * params.plain - 1, images, changed)


def _normal(shape: tf.Tensor, seed: tf.Tensor, start: int) -> tf.Tensor:
    """What `tf.random.stateless_normal` gives from its number `start` on, without those before.

    Philox makes four numbers of each count of its counter (Salmon et al. 2011, table 2), so that a
    host need not draw the noise of all the others to have its own.
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
    one = np.exp(-(np.arange(-3, 4) ** 2) / (2 * deviation**2))
    kernel = np.outer(one, one) / one.sum() ** 2
    return kernel[..., None, None].astype(np.float32)
