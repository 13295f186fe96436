"""The first import of TensorFlow, without what it says to nobody in particular.

Several hosts that train one network together.

Each runs the same stage. `TF_CONFIG` tells it who they are and which one it is, in TensorFlow's own
form, which Kubeflow and Ray Train set as well:

    {"cluster": {"worker": ["a:2222", "b:2222"]}, "task": {"type": "worker", "index": 0}}

The first is the chief (with a `chief` in the cluster, that one): it alone prints, logs and writes.
The others take their part of each batch and need nothing but the images.

Where and in which arithmetic TensorFlow computes, so that it gives the same bytes every time.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pneumonia.core.config import Precision
from pneumonia.core.errors import InputError

if TYPE_CHECKING:
    import tensorflow as tf


@contextmanager
def quiet() -> Iterator[None]:
    """Send the file descriptor of standard error nowhere.

    TensorFlow greets from C++ before any of its log settings count; an error that stops the import
    is a Python exception and still comes through.
    """
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


LOST = 75  # exit status; EX_TEMPFAIL of sysexits.h: try again


@dataclass(frozen=True)
class TrainingHost:
    """A host's place among those that train together.

    Attributes:
        index: from 0, the chief's.
        addresses: of all hosts, host:port, in that order; one or none where this one is alone.
    """

    index: int = 0
    addresses: tuple[str, ...] = ()

    @property
    def several(self) -> bool:
        """Whether there are others."""
        return len(self.addresses) > 1

    @property
    def chief(self) -> bool:
        """Whether this host writes."""
        return self.index == 0


def training_host(environment: Mapping[str, str] = os.environ) -> TrainingHost:
    """Read `TF_CONFIG`.

    Raises:
        InputError: it is not in TensorFlow's form, or names a task that does not train.
    """
    given = environment.get("TF_CONFIG")
    if not given:
        return TrainingHost()
    try:
        config = json.loads(given)
        cluster, task = config.get("cluster", {}), config.get("task", {})
        jobs = {job: [str(one) for one in cluster.get(job, ())] for job in ("chief", "worker")}
        addresses = (*jobs["chief"], *jobs["worker"])
        if len(addresses) < 2:
            return TrainingHost()
        kind, number = task["type"], int(task["index"])
        if number not in range(len(jobs.get(kind, ()))):
            raise InputError(f"TF_CONFIG: no '{kind}' {number} among those that train: {given}")
        index = number + (len(jobs["chief"]) if kind == "worker" else 0)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"TF_CONFIG: not in TensorFlow's form: {error!r}: {given}") from None
    return TrainingHost(index, addresses)


@contextmanager
def together(stage: str) -> Iterator[TrainingHost]:
    """End the process with status 75 and one line on standard error when another host is lost.

    TensorFlow sees it from a closed connection at once, or from heartbeats that stay away for 10
    seconds, and then breaks off what waits for that host. The process group cannot be mended: all
    end, and go on from the chief's last checkpoint when they are started again.
    """
    here = training_host()
    try:
        yield here
    except Exception as error:
        if not here.several or not _is_loss(error):
            raise
        reason = str(error).split("aborted by: ")[-1].strip().splitlines()[0].rstrip(":")
        print(
            f"{stage}: host {here.index} lost another host ({reason}); started again on all of"
            " them, the training goes on from the chief's last checkpoint",
            file=sys.stderr,
        )
        sys.exit(LOST)


def _is_loss(error: Exception) -> bool:
    """Whether TensorFlow says that a host is gone, or has come back as another process.

    Its InternalError, which it also has for one, is left alone: a GPU's own failures are such.
    """
    import tensorflow as tf

    errors = tf.errors
    return isinstance(
        error,
        (
            errors.UnavailableError, errors.DeadlineExceededError, errors.AbortedError,
            errors.CancelledError, errors.FailedPreconditionError,
        ),
    )  # fmt: skip


def agree(strategy: tf.distribute.Strategy, key: str) -> None:
    """Make sure that all hosts train the same.

    Args:
        key: hexadecimal, of `checkpoint.fingerprint`: params, images, code, libraries.

    Raises:
        InputError: this host's differs from the chief's.
    """
    here = training_host()
    if here.several and _from_chief(strategy, _as_numbers(key)).tolist() != list(key.encode()):
        raise InputError(
            f"host {here.index} has other params, images, code or libraries than the chief"
        )


def share(
    strategy: tf.distribute.Strategy, state: Sequence[Any], history: list[dict[str, float]]
) -> None:
    """Give every host the chief's state and history, in place. Alone: nothing.

    Args:
        state: variables of Keras or TensorFlow, the same ones in the same order on all hosts.
        history: a row an epoch.
    """
    if not training_host().several:
        return
    for variable in state:
        variable.assign(_from_chief(strategy, variable.numpy()))
    rows = _as_numbers(json.dumps(history))
    length = int(_from_chief(strategy, np.array(len(rows))))
    history[:] = json.loads(bytes(_from_chief(strategy, np.resize(rows, length)).tolist()))


def wait(strategy: tf.distribute.Strategy) -> None:
    """Return when all hosts have come here."""
    share(strategy, [], [])


def _as_numbers(text: str) -> NDArray[np.int64]:
    """Bytes in a type that can be sent from any device."""
    return np.frombuffer(text.encode(), np.uint8).astype(np.int64)


def _from_chief(strategy: tf.distribute.Strategy, value: NDArray[Any]) -> NDArray[Any]:
    """The chief's array; all hosts come with one of its shape and type."""
    import tensorflow as tf

    # A new variable has the chief's first value on all hosts; TensorFlow sends it.
    with strategy.scope():
        return tf.Variable(value, trainable=False).numpy()


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

    if training_host().several:
        return tf.distribute.MultiWorkerMirroredStrategy()
    devices = devices or [f"GPU:{n}" for n, _ in enumerate(tf.config.list_physical_devices("GPU"))]
    if len(devices) < 2:
        return tf.distribute.get_strategy()
    # The sum on one device has one order; these models are small, so that it costs little.
    return tf.distribute.MirroredStrategy(
        devices, cross_device_ops=tf.distribute.ReductionToOneDevice()
    )
