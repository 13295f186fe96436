"""Choose TensorFlow's devices and arithmetic, so that every run gives the same bytes.

Several hosts can train one network together. Each host runs the same stage. `TF_CONFIG` lists the
hosts and names the current host, in TensorFlow's own format. Kubeflow and Ray Train set it, too:

    {"cluster": {"worker": ["a:2222", "b:2222"]}, "task": {"type": "worker", "index": 0}}

The chief is the host `chief` of the cluster, or otherwise the first host. Only the chief prints,
logs and writes. The other hosts compute their part of each batch, and need only the images.
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


HOST_LOST = 75  # exit status EX_TEMPFAIL of sysexits.h, which means: try again


@contextmanager
def quiet() -> Iterator[None]:
    """Discard all output to standard error, to silence TensorFlow's start-up messages.

    C++ code writes these messages before any of TensorFlow's log settings take effect. If the
    import fails, the error is a Python exception and is raised as usual.
    """
    stderr, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(null)


def make_deterministic(seed: int, precision: Precision = "float32") -> None:
    """Seed all generators and make operations deterministic. Call this before building a model.

    Args:
        seed: the seed for weights and dropout; order and augmentation take theirs from the params.
        precision: with bfloat16, oneDNN multiplies in bfloat16 (8 bits of mantissa) and adds in
            float32. Weights, optimizer and the exported graph stay float32. Only CPUs with
            AVX512_BF16 or AMX become faster; a GPU gains nothing.
    """
    with quiet():
        import keras
        import tensorflow as tf

    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    tf.config.optimizer.set_experimental_options(
        {"auto_mixed_precision_onednn_bfloat16": precision == "bfloat16"}
    )
    # Deterministic operations are not enough: if a busy machine runs operations side by side, their
    # last digits sometimes differ, and so do the final weights. So operations run one at a time;
    # each operation still uses all cores.
    try:
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        # TensorFlow has already computed something, for example in a notebook or a test.
        warnings.warn("TensorFlow is running: equal bytes are not certain", stacklevel=2)


def strategy(devices: list[str] | None = None) -> tf.distribute.Strategy:
    """Distribute over all hosts if there are several, else over all GPUs, else not at all.

    Build models in the strategy's scope. With several hosts, call this function before TensorFlow
    computes anything; the function returns when all hosts have called it.

    Args:
        devices: names of devices, such as "CPU:0", to use instead of the visible GPUs.
    """
    import tensorflow as tf

    if training_host().is_distributed:
        return tf.distribute.MultiWorkerMirroredStrategy()
    devices = devices or [f"GPU:{n}" for n, _ in enumerate(tf.config.list_physical_devices("GPU"))]
    if len(devices) < 2:
        return tf.distribute.get_strategy()
    # On one device, a sum always has the same order. Models are small, so this costs little time.
    return tf.distribute.MirroredStrategy(
        devices, cross_device_ops=tf.distribute.ReductionToOneDevice()
    )


@dataclass(frozen=True)
class TrainingHost:
    """This host's place among the hosts that train together."""

    index: int = 0  #: the number of this host; the chief has 0
    #: host:port of all hosts, ordered by index; empty if this host trains alone.
    addresses: tuple[str, ...] = ()

    @property
    def is_distributed(self) -> bool:
        """Whether there are other hosts."""
        return len(self.addresses) > 1

    @property
    def is_chief(self) -> bool:
        """Whether this host prints, logs and writes."""
        return self.index == 0


def training_host(environment: Mapping[str, str] = os.environ) -> TrainingHost:
    """Read `TF_CONFIG`.

    Raises:
        InputError: the value is not in TensorFlow's form, or names a task that does not train.
    """
    text = environment.get("TF_CONFIG")
    if not text:
        return TrainingHost()
    try:
        config = json.loads(text)
        cluster, task = config.get("cluster", {}), config.get("task", {})
        jobs = {job: [str(host) for host in cluster.get(job, ())] for job in ("chief", "worker")}
        addresses = (*jobs["chief"], *jobs["worker"])
        if len(addresses) < 2:
            return TrainingHost()
        kind, number = task["type"], int(task["index"])
        if number not in range(len(jobs.get(kind, ()))):
            raise InputError(f"TF_CONFIG: no '{kind}' {number} among the hosts that train: {text}")
        index = number + (len(jobs["chief"]) if kind == "worker" else 0)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"TF_CONFIG: not in TensorFlow's form: {error!r}: {text}") from None
    return TrainingHost(index, addresses)


@contextmanager
def exit_if_host_lost(stage: str) -> Iterator[TrainingHost]:
    """End the process with status `HOST_LOST` and one line of error when another host is lost.

    TensorFlow notices a closed connection at once, and missing heartbeats after 10 seconds. It then
    aborts operations that wait for the lost host. The group of hosts cannot be repaired, so all
    hosts end. When all are started again, training continues from the chief's last checkpoint.
    """
    host = training_host()
    try:
        yield host
    except Exception as error:
        from tensorflow import errors

        # TensorFlow also raises InternalError for a lost host. It is not in this list, because
        # failures of a GPU are InternalErrors, too.
        losses = (
            errors.UnavailableError, errors.DeadlineExceededError, errors.AbortedError,
            errors.CancelledError, errors.FailedPreconditionError,
        )  # fmt: skip
        if not host.is_distributed or not isinstance(error, losses):
            raise
        reason = str(error).split("aborted by: ")[-1].strip().splitlines()[0].rstrip(":")
        print(
            f"{stage}: host {host.index} lost another host ({reason}); start all hosts again, and"
            " the training continues from the chief's last checkpoint",
            file=sys.stderr,
        )
        sys.exit(HOST_LOST)


def check_same_training(strategy: tf.distribute.Strategy, key: str) -> None:
    """Check that all hosts run the same training.

    Args:
        key: `checkpoint.fingerprint` of params, images, code and libraries, in hexadecimal.

    Raises:
        InputError: this host's key differs from the chief's.
    """
    host = training_host()
    if host.is_distributed and _from_chief(strategy, _as_bytes(key)).tolist() != list(key.encode()):
        raise InputError(
            f"host {host.index} has other params, images, code or libraries than the chief"
        )


def broadcast(
    strategy: tf.distribute.Strategy, state: Sequence[Any], history: list[dict[str, float]]
) -> None:
    """Copy the chief's state and history to every host, in place. A host alone copies nothing.

    Args:
        state: variables of Keras or TensorFlow, in the same order on all hosts.
        history: one row per epoch.
    """
    if not training_host().is_distributed:
        return
    for variable in state:
        variable.assign(_from_chief(strategy, variable.numpy()))
    rows = _as_bytes(json.dumps(history))
    length = int(_from_chief(strategy, np.array(len(rows))))
    history[:] = json.loads(bytes(_from_chief(strategy, np.resize(rows, length)).tolist()))


def wait_for_all(strategy: tf.distribute.Strategy) -> None:
    """Wait until all hosts have called this function."""
    broadcast(strategy, [], [])


def _as_bytes(text: str) -> NDArray[np.int64]:
    """The bytes of a text as integers of a type that any device can send."""
    return np.frombuffer(text.encode(), np.uint8).astype(np.int64)


def _from_chief(strategy: tf.distribute.Strategy, value: NDArray[Any]) -> NDArray[Any]:
    """Get the chief's array; all hosts call this with an array of the same shape and type."""
    import tensorflow as tf

    # TensorFlow sends the chief's first value of a new variable to all hosts.
    with strategy.scope():
        return tf.Variable(value, trainable=False).numpy()
