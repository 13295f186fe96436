"""A layer is named by the instruction of the Dockerfile, for each kind of builder."""

from __future__ import annotations

import pytest

from benchmarks.areas.image import _instruction


@pytest.mark.parametrize(
    ("created_by", "instruction"),
    [
        (f"/bin/sh -c #(nop) COPY dir:{'0a' * 32} in /opt/venv ", "`COPY /opt/venv`"),
        ("COPY /opt/venv /opt/venv # buildkit", "`COPY /opt/venv /opt/venv # buildkit`"),
        ("/bin/sh -c useradd  --system model", "`useradd --system model`"),
        ("", "of the base"),
    ],
)
def test_a_layer_is_named_by_its_instruction(created_by: str, instruction: str) -> None:
    assert _instruction(created_by) == instruction
