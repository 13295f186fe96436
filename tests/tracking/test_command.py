"""The command line without a store: its help and its mistakes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.pipeline.clone import clean_environment
from tests.pipeline.imports import ROOT

WITHOUT_MLFLOW = """
import runpy, sys
sys.modules["mlflow"] = None  # an import of it fails
sys.argv = ["registry", *sys.argv[1:]]
runpy.run_module("pneumonia.registry.champion", run_name="__main__")
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_MLFLOW, *arguments],
        cwd=ROOT, env=clean_environment() | {"PYTHONPATH": f"{ROOT}/src"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["--help"], 0, "promote"),
        (["promote", "--help"], 0, "its number"),
        ([], 2, "the following arguments are required: command"),
        (["promote"], 2, "the following arguments are required: version"),
        (["--params", "nowhere.yaml", "rollback"], 1, "registry: nowhere.yaml: no such file"),
    ],
)
def test_help_and_mistakes_need_no_store(arguments: list[str], status: int, told: str) -> None:
    ran = run(*arguments)
    assert ran.returncode == status
    assert told in ran.stdout + ran.stderr
    assert "Traceback" not in ran.stderr


def test_make_promote_needs_a_version() -> None:
    venv = sys.prefix
    ran = subprocess.run(
        ["make", "promote", f"VENV={venv}", "--old-file", f"{venv}/.installed"],
        cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode != 0
    assert ran.stderr.splitlines()[0] == "say which version: make promote VERSION=2"
