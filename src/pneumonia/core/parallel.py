"""How many cores this process may use, which in a container is not how many the host has.

Work on a Ray cluster: tasks to results, whatever becomes of single nodes.
"""

from __future__ import annotations

import logging
import math
import os
import pickle
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from pneumonia.core.errors import InputError

QUOTA = Path("/sys/fs/cgroup/cpu.max")  # cgroup v2: "MICROSECONDS PERIOD", or "max PERIOD"


def cores(quota: Path = QUOTA) -> int:
    """Cores by affinity and by the cgroup's quota, rounded up; at least 1."""
    allowed = len(os.sched_getaffinity(0))
    try:
        share, period = quota.read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        return allowed
    if share == "max":
        return allowed
    return max(1, min(allowed, math.ceil(int(share) / int(period))))


Task = TypeVar("Task")
Result = TypeVar("Result")


def each(
    address: str, make: Callable[[], Callable[[Task], Result]], tasks: Iterable[Task]
) -> Iterator[Result]:
    """Do tasks on the cores of a cluster; the results, as they come.

    A task whose node dies is done again on another, perhaps for the second time: it must write the
    same then. The package itself is sent to the nodes; what it imports has to be there, in the
    same versions.

    Args:
        address: auto (the cluster of this machine), HOST:PORT, or local (a cluster of this machine
            alone, for this call).
        make: makes what does a task, once in every worker; it is pickled, and so are tasks and
            results.
        tasks: pieces of some seconds each.

    Raises:
        InputError: Ray is not installed, or no cluster answers.
    """
    # Nothing calls home; it is read when the library is loaded.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError:
        raise InputError("Ray is not installed: pip install -r requirements-ray.txt") from None
    rows = [{"task": pickle.dumps(task)} for task in tasks]
    if not rows:
        return
    _connect(address)
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        # A block a task: what Ray hands out, and does again.
        done = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            _Worker,
            fn_constructor_args=(pickle.dumps(make),),
            batch_size=None,
            num_cpus=1,
            compute=ray.data.ActorPoolStrategy(min_size=1, initial_size=_cores(len(rows))),
        )
        for row in done.iter_rows():
            yield pickle.loads(row["result"])  # nosec B301 # made by our own workers
    finally:
        ray.shutdown()


class _Worker:
    """What Ray Data calls a worker: made once in a process, called with a block of one task."""

    def __init__(self, make: bytes) -> None:
        self._work = pickle.loads(make)()  # nosec B301 # from our own driver

    def __call__(self, block: dict[str, Any]) -> dict[str, Any]:
        [task] = block["task"]
        return {"result": [pickle.dumps(self._work(pickle.loads(task)))]}  # nosec B301


def _connect(address: str) -> None:
    """Join a cluster, or start one on this machine.

    Raises:
        InputError: none answers.
    """
    import ray

    import pneumonia

    try:
        ray.init(
            address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={
                "py_modules": [str(Path(pneumonia.__file__).parent)],
                "env_vars": {"OPENBLAS_NUM_THREADS": "1", "ORT_DISABLE_TELEMETRY": "1"},
            },
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"Ray at {address}: {reason}") from None


def _cores(tasks: int) -> int:
    import ray

    return max(1, min(tasks, int(ray.cluster_resources().get("CPU", 1))))
