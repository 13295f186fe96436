"""The head both networks end in: global average pooling and one dense unit, the logit.

For this head Grad-CAM (Selvaraju 2017, eq. 1 and 2) and the class activation map (Zhou 2016) are
the same map, so that an exported graph gives it in its forward pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras


def add_head(image: keras.KerasTensor, features: keras.KerasTensor, name: str) -> keras.Model:
    """Close a network whose last activations, (N, h, w, C), are `features`."""
    import keras
    from keras import layers

    pooled = layers.GlobalAveragePooling2D(name="pool")(features)
    logit = layers.Dense(1, kernel_initializer="glorot_uniform", name="logit")(pooled)
    return keras.Model(image, logit, name=name)
