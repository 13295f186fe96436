"""`make audit`: what it makes of pip-audit's answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.imports import ROOT

GOOD: dict[str, Any] = {"name": "good", "version": "1", "vulns": []}
HOLE = {"id": "PYSEC-1", "fix_versions": ["2.1"]}
BAD = {"name": "bad", "version": "2.0", "vulns": [HOLE]}
UNKNOWN = {"name": "unknown", "skip_reason": "not found"}


def audit(folder: Path, output: str, error: str = "") -> tuple[int, str]:
    """Status and words of the audit when pip-audit writes this."""
    fake = folder / "pip-audit"
    fake.write_text(
        f"#!{sys.executable}\nimport sys\nprint({output!r})\nprint({error!r}, file=sys.stderr)\n"
    )
    fake.chmod(0o755)
    ran = subprocess.run(
        [sys.executable, ROOT / ".ci/audit.py"], capture_output=True, text=True, check=False,
        env=os.environ | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"},
    )  # fmt: skip
    return ran.returncode, ran.stdout + ran.stderr


@pytest.mark.parametrize(
    ("packages", "status", "told"),
    [
        ([GOOD], 0, "0 known vulnerabilities in 1 packages"),
        ([GOOD, BAD], 1, "bad 2.0: PYSEC-1, mended in ['2.1']"),
        ([GOOD, UNKNOWN], 1, "unknown: not known to the service"),
        ([UNKNOWN], 0, "skipped"),
    ],
)
def test_only_what_was_asked_and_is_clean_passes(
    packages: list[dict[str, Any]], status: int, told: str, tmp_path: Path
) -> None:
    found, words = audit(tmp_path, json.dumps({"dependencies": packages}))
    assert found == status
    assert told in words


def test_a_service_that_cannot_be_reached_is_told_from_a_failure(tmp_path: Path) -> None:
    status, words = audit(tmp_path, "", "Traceback\nrequests.exceptions.ConnectionError: no route")
    assert status == 0
    assert words.startswith("audit: skipped: no service")
    status, words = audit(tmp_path, "", "ERROR: requirements.txt: bad line")
    assert status == 1
    assert "bad line" in words
