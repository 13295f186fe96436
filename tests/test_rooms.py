"""Tests that share fixtures stay on one worker of a parallel run."""

from __future__ import annotations

import pytest


def test_xdist_heeds_the_rooms(request: pytest.FixtureRequest) -> None:
    # It goes by the name, which it writes the group to. Without that all pass, but each worker
    # makes every image for itself, and waits for the other.
    if not hasattr(request.config, "workerinput"):
        pytest.skip("one process")
    assert request.node.nodeid.endswith(f"@{request.path}")
