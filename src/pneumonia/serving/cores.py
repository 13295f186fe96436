"""How many cores this process may use, which in a container is not how many the host has."""

from __future__ import annotations

import math
import os
from pathlib import Path

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
