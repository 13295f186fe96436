"""Where and in which arithmetic TensorFlow computes, so that it gives the same bytes every time."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from pneumonia.models import hosts
from pneumonia.models.quiet import quiet
from pneumonia.params import Precision

if TYPE_CHECKING:
    import tensorflow as tf


def be_deterministic(seed: int, precision: Precision = "float32") -> None:
    """Seed every generator and ask TensorFlow for deterministic operations. Before building.

    Args:
        seed: of weights and dropout; order and augmentation have it from the params.
        precision: bfloat16 lets oneDNN multiply in bfloat16 (8 bits of mantissa) and add up in
            float32; weights, optimizer and what is exported stay float32. It is a rewrite of the
            graph for CPUs: on a GPU, and on a CPU without AVX512_BF16 or AMX, nothing is gained.
    """
    with quiet():
        import keras
        import tensorflow as tf

    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    tf.config.optimizer.set_experimental_options(
        {"auto_mixed_precision_onednn_bfloat16": precision == "bfloat16"}
    )
    # Not enough alone: on a busy machine operations that may run side by side sometimes give other
    # last digits, and a training ends elsewhere. One at a time; each still uses all cores.
    try:
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        # TensorFlow has begun to compute, in a notebook or a test; a stage calls this first.
        warnings.warn("TensorFlow is running: equal bytes are not certain", stacklevel=2)


def strategy(devices: list[str] | None = None) -> tf.distribute.Strategy:
    """All hosts together if there are several, else all GPUs, else TensorFlow's default.

    Build models in its scope. With several hosts it has to be made before TensorFlow computes
    anything, and returns when all of them are there.

    Args:
        devices: instead of the visible GPUs, "CPU:0" and the like.
    """
    import tensorflow as tf

    if hosts.place().several:
        return tf.distribute.MultiWorkerMirroredStrategy()
    devices = devices or [f"GPU:{n}" for n, _ in enumerate(tf.config.list_physical_devices("GPU"))]
    if len(devices) < 2:
        return tf.distribute.get_strategy()
    # The sum on one device has one order; these models are small, so that it costs little.
    return tf.distribute.MirroredStrategy(
        devices, cross_device_ops=tf.distribute.ReductionToOneDevice()
    )
