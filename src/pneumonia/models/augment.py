"""What can happen to a film between the patient and the file, drawn anew at every step.

Positioning (rotation, zoom, shift), exposure (contrast, brightness, gamma) and quantum noise. No
mirroring: a mirrored chest has its heart on the wrong side.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pneumonia.params import AugmentParams

if TYPE_CHECKING:
    import tensorflow as tf


def augment(images: tf.Tensor, params: AugmentParams, seed: tf.Tensor) -> tf.Tensor:
    """Change each film of a batch in its own way.

    Every draw is stateless (Salmon et al. 2011), so `seed` alone decides the result, on any number
    of threads and after a resumption.

    Args:
        images: uint8, (N, S, S, 1).
        params: how far each change may go.
        seed: int32, (2,).

    Returns:
        uint8, (N, S, S, 1).
    """
    import tensorflow as tf

    count, side = tf.shape(images)[0], images.shape[1]
    draws = tf.random.stateless_uniform((7, count), seed, -1.0, 1.0)
    angle = draws[0] * (params.rotation * math.pi / 180)
    zoom = 1 + draws[1] * params.zoom
    # From output to source pixels, about the centre: rotate, scale, shift.
    cos, sin = tf.cos(angle) * zoom, tf.sin(angle) * zoom
    centre = (side - 1) / 2
    across = centre - centre * cos + centre * sin + draws[2] * (params.shift * side)
    down = centre - centre * sin - centre * cos + draws[3] * (params.shift * side)
    zero = tf.zeros_like(cos)
    films = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(images, tf.float32) / 255,
        transforms=tf.stack([cos, -sin, across, sin, cos, down, zero, zero], axis=1),
        output_shape=[side, side],
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
        fill_value=0.0,
    )

    def a_film(values: tf.Tensor) -> tf.Tensor:
        return values[:, None, None, None]

    films = tf.pow(films, a_film(tf.exp(draws[4] * params.gamma)))
    films = (films - 0.5) * a_film(tf.exp(draws[5] * params.contrast)) + 0.5
    films += a_film(draws[6] * params.brightness)
    films += params.noise * tf.random.stateless_normal(tf.shape(films), seed + 1)
    return tf.cast(tf.round(tf.clip_by_value(films, 0, 1) * 255), tf.uint8)
