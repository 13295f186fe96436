"""`pneumonia promote`, `rollback` and `history` without a store: their help and wrong usage."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.pipeline.clone import clean_environment
from tests.pipeline.imports import ROOT

WITHOUT_MLFLOW = """
import sys
sys.modules["mlflow"] = None  # an import of it fails
from pneumonia.cli import main
sys.exit(main(sys.argv[1:]))
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_MLFLOW, *arguments],
        cwd=ROOT, env=clean_environment() | {"PYTHONPATH": f"{ROOT}/src"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["promote", "--help"], 0, "number of the version"),
        (["rollback", "--help"], 0, "MLFLOW_TRACKING_URI"),
        (["history", "--help"], 0, "the latest is last"),
        (["promote"], 2, "the following arguments are required: VERSION"),
        (["rollback", "--params", "nowhere.yaml"], 1, "rollback: nowhere.yaml: no such file"),
    ],
)
def test_help_and_wrong_usage_need_no_store(
    arguments: list[str], status: int, message: str
) -> None:
    ran = run(*arguments)
    assert ran.returncode == status
    assert message in ran.stdout + ran.stderr
    assert "Traceback" not in ran.stderr


def test_make_promote_needs_a_version() -> None:
    venv = sys.prefix
    ran = subprocess.run(
        ["make", "promote", f"VENV={venv}", "--old-file", f"{venv}/.installed"],
        cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode != 0
    assert ran.stderr.splitlines()[0] == "give a version: make promote VERSION=2"
