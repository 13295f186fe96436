"""A layer is told as the Dockerfile has it, whichever builder kept its history."""

from __future__ import annotations

import pytest

from benchmarks.areas.image import _instruction


@pytest.mark.parametrize(
    ("created_by", "told"),
    [
        (f"/bin/sh -c #(nop) COPY dir:{'0a' * 32} in /opt/venv ", "`COPY /opt/venv`"),
        ("COPY /opt/venv /opt/venv # buildkit", "`COPY /opt/venv /opt/venv # buildkit`"),
        ("/bin/sh -c useradd  --system model", "`useradd --system model`"),
        ("", "of the base"),
    ],
)
def test_a_layer_is_named_by_its_instruction(created_by: str, told: str) -> None:
    assert _instruction(created_by) == told
