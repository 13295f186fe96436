"""The head both networks end in: global average pooling and one dense unit without a bias.

The logit is the evidence that the unit finds plus `NOTHING_FOUND`, which is no weight: an image
whose activations are all zero has that logit, on the side of NORMAL. With a bias that learns, the
ImageNet backbone came to call an image PNEUMONIA when nothing was active, since ReLU6 is zero on most
of a radiograph: half of the Kermany pneumonias had one and the same logit, their maps were empty,
and any image that was foreign enough would have been called ill.

For this head Grad-CAM (Selvaraju 2017, eq. 1 and 2) and the class activation map (Zhou 2016) are
the same map, so that an exported graph gives it in its forward pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

NOTHING_FOUND = -4.0  # logit of an image without evidence, a probability of 1.8 %


def add_head(image: keras.KerasTensor, features: keras.KerasTensor, name: str) -> keras.Model:
    """Close a network whose last activations, (N, h, w, C), are `features`.

    The unit's layer is named `evidence`, the output `logit`, (N, 1).
    """
    import keras
    from keras import layers

    pooled = layers.GlobalAveragePooling2D(name="pool")(features)
    evidence = layers.Dense(1, use_bias=False, name="evidence")(pooled)
    logit = layers.Rescaling(1.0, NOTHING_FOUND, name="logit")(evidence)
    return keras.Model(image, logit, name=name)
