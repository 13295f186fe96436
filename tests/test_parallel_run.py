"""In a parallel run, tests that share fixtures stay on one worker."""

from __future__ import annotations

import pytest


def test_xdist_follows_the_groups(request: pytest.FixtureRequest) -> None:
    # xdist appends the group to the name of a test. Without groups every test would still pass, but
    # each worker would make all images and clones for itself.
    if not hasattr(request.config, "workerinput"):
        pytest.skip("one process")
    assert request.node.nodeid.endswith(f"@{request.path}")
