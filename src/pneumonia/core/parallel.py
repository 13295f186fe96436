"""The number of cores that this process may use, and tasks on the cores of a Ray cluster."""

from __future__ import annotations

import logging
import math
import os
import pickle  # nosec B403 # between our own driver and workers
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from pneumonia.core.errors import InputError

QUOTA = Path("/sys/fs/cgroup/cpu.max")  # cgroup v2: "MICROSECONDS PERIOD" or "max PERIOD"

Task = TypeVar("Task")
Result = TypeVar("Result")


def cores(quota: Path = QUOTA) -> int:
    """How many cores the CPU affinity and the container's quota allow; rounded up, at least 1."""
    allowed = len(os.sched_getaffinity(0))
    try:
        share, period = quota.read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        return allowed
    if share == "max":
        return allowed
    return max(1, min(allowed, math.ceil(int(share) / int(period))))


def each(
    address: str, make: Callable[[], Callable[[Task], Result]], tasks: Iterable[Task]
) -> Iterator[Result]:
    """Do tasks on the cores of a Ray cluster; yield each result as soon as it is ready.

    If a node fails, its tasks run again on another node. So a task may run twice, and must then
    write the same files again. This package is sent to the nodes. The libraries that the package
    imports must be installed on the nodes, in the same versions.

    Args:
        address: auto (the cluster of this machine), HOST:PORT, or local (a new cluster on this
            machine, for this call).
        make: a function that every worker calls once; it returns the function that does a task.
            `make`, tasks and results are pickled.
        tasks: the tasks; each should take some seconds.

    Raises:
        InputError: Ray is not installed, or no cluster answers.
    """
    # Stop Ray from sending usage statistics. Ray reads this variable when it is imported.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError:
        raise InputError("Ray is not installed: pip install -r requirements-ray.txt") from None
    import pneumonia

    rows = [{"task": pickle.dumps(task)} for task in tasks]
    if not rows:
        return
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
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        available = int(ray.cluster_resources().get("CPU", 1))
        workers = max(1, min(len(rows), available))
        # Ray gives whole blocks to a worker, and repeats whole blocks. So each task is one block.
        results = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            _Worker,
            fn_constructor_args=(pickle.dumps(make),),
            batch_size=None,
            num_cpus=1,
            compute=ray.data.ActorPoolStrategy(min_size=1, initial_size=workers),
        )
        for row in results.iter_rows():
            yield pickle.loads(row["result"])  # nosec B301 # made by our own workers
    finally:
        ray.shutdown()


class _Worker:
    """Does the tasks of one worker process; Ray Data creates it and calls it for each task."""

    def __init__(self, make: bytes) -> None:
        self._work = pickle.loads(make)()  # nosec B301 # from our own driver

    def __call__(self, block: dict[str, Any]) -> dict[str, Any]:
        [task] = block["task"]
        return {"result": [pickle.dumps(self._work(pickle.loads(task)))]}  # nosec B301
