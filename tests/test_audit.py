"""`make audit`: status and messages for each answer of pip-audit."""

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
VULNERABILITY = {"id": "PYSEC-1", "fix_versions": ["2.1"]}
BAD = {"name": "bad", "version": "2.0", "vulns": [VULNERABILITY]}
UNKNOWN = {"name": "unknown", "skip_reason": "not found"}


def audit(folder: Path, output: str, error: str = "") -> tuple[int, str]:
    """Status and output of the audit if pip-audit prints this."""
    fake = folder / "pip-audit"
    fake.write_text(
        f"#!{sys.executable}\nimport sys\nprint({output!r})\nprint({error!r}, file=sys.stderr)\n"
    )
    fake.chmod(0o755)
    result = subprocess.run(
        [sys.executable, ROOT / ".ci/audit.py"], capture_output=True, text=True, check=False,
        env=os.environ | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"},
    )  # fmt: skip
    return result.returncode, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("packages", "status", "message"),
    [
        ([GOOD], 0, "0 known vulnerabilities in 1 packages"),
        ([GOOD, BAD], 1, "bad 2.0: PYSEC-1, fixed in 2.1"),
        ([GOOD, UNKNOWN], 1, "unknown: not known to the service"),
        ([UNKNOWN], 0, "skipped"),
    ],
)
def test_only_known_packages_without_vulnerabilities_pass(
    packages: list[dict[str, Any]], status: int, message: str, tmp_path: Path
) -> None:
    returned, output = audit(tmp_path, json.dumps({"dependencies": packages}))
    assert returned == status
    assert message in output


def test_an_unreachable_service_is_no_failure(tmp_path: Path) -> None:
    status, output = audit(tmp_path, "", "Traceback\nrequests.exceptions.ConnectionError: no route")
    assert status == 0
    assert output.startswith("audit: skipped: the vulnerability service")
    status, output = audit(tmp_path, "", "ERROR: requirements.txt: bad line")
    assert status == 1
    assert "bad line" in output
