"""Where and in which arithmetic TensorFlow computes, so that every run gives the same bytes.

Several hosts can train one network together. Each runs the same stage; `TF_CONFIG` lists the hosts
and says which one this is, in TensorFlow's own form, which Kubeflow and Ray Train set as well:

    {"cluster": {"worker": ["a:2222", "b:2222"]}, "task": {"type": "worker", "index": 0}}

The first host is the chief (with a `chief` in the cluster, that one): it alone prints, logs and
writes. The others compute their part of each batch and need only the images.
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


HOST_LOST = 75  # exit status; EX_TEMPFAIL of sysexits.h: try again


@contextmanager
def quiet() -> Iterator[None]:
    """Silence TensorFlow's start-up messages: discard what goes to standard error.

    C++ code writes them before any of TensorFlow's log settings take effect. An error of the import
    is a Python exception and is raised as usual.
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
    """Seed every generator and make TensorFlow's operations deterministic. Call before building.

    Args:
        seed: of weights and dropout; order and augmentation get theirs from the params.
        precision: bfloat16 lets oneDNN multiply in bfloat16 (8 bits of mantissa) and add up in
            float32; weights, optimizer and the exported graph stay float32. It rewrites the graph
            for CPUs: a GPU, and a CPU without AVX512_BF16 or AMX, gain nothing.
    """
    with quiet():
        import keras
        import tensorflow as tf

    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    tf.config.optimizer.set_experimental_options(
        {"auto_mixed_precision_onednn_bfloat16": precision == "bfloat16"}
    )
    # Determinism of each operation is not enough: on a busy machine, operations that may run side
    # by side sometimes differ in their last digits, and the weights differ at the end. So they run
    # one at a time; each still uses all cores.
    try:
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        # TensorFlow has already computed something, as in a notebook or a test.
        warnings.warn("TensorFlow is running: equal bytes are not certain", stacklevel=2)


def strategy(devices: list[str] | None = None) -> tf.distribute.Strategy:
    """The distribution: over all hosts if there are several, else over all GPUs, else none.

    Build models in its scope. With several hosts call this before TensorFlow computes anything; it
    returns when all of them have called it.

    Args:
        devices: such as "CPU:0", to use instead of the visible GPUs.
    """
    import tensorflow as tf

    if training_host().is_distributed:
        return tf.distribute.MultiWorkerMirroredStrategy()
    devices = devices or [f"GPU:{n}" for n, _ in enumerate(tf.config.list_physical_devices("GPU"))]
    if len(devices) < 2:
        return tf.distribute.get_strategy()
    # A sum on one device has one order. The models are small, so this costs little.
    return tf.distribute.MirroredStrategy(
        devices, cross_device_ops=tf.distribute.ReductionToOneDevice()
    )


@dataclass(frozen=True)
class TrainingHost:
    """This host's place among the hosts that train together."""

    index: int = 0  #: from 0, the chief's
    #: host:port of all hosts in that order; empty where this host trains alone.
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
        InputError: it is not in TensorFlow's form, or names a task that does not train.
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

    TensorFlow notices a closed connection at once, and missing heartbeats after 10 seconds, and
    then aborts what waits for that host. The process group cannot be repaired: all hosts end, and
    continue from the chief's last checkpoint when they are started again.
    """
    host = training_host()
    try:
        yield host
    except Exception as error:
        from tensorflow import errors

        # Not InternalError, though TensorFlow raises it for this, too: failures of a GPU are
        # InternalErrors as well.
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
    """Check that all hosts train the same.

    Args:
        key: hexadecimal, from `checkpoint.fingerprint`: params, images, code, libraries.

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
    """Give every host the chief's state and history, in place. Without other hosts: nothing.

    Args:
        state: variables of Keras or TensorFlow, the same ones in the same order on all hosts.
        history: a row an epoch.
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
    """The bytes of a text in a type that can be sent from any device."""
    return np.frombuffer(text.encode(), np.uint8).astype(np.int64)


def _from_chief(strategy: tf.distribute.Strategy, value: NDArray[Any]) -> NDArray[Any]:
    """The chief's array; all hosts call this with an array of the same shape and type."""
    import tensorflow as tf

    # A new variable has the chief's first value on all hosts; TensorFlow sends it.
    with strategy.scope():
        return tf.Variable(value, trainable=False).numpy()
