"""The measurement of start-up stops a stage before it changes anything."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.areas.startup import STOP, STOPPED
from tests.pipeline.imports import ROOT


def test_a_stage_stops_before_it_touches_its_output(tmp_path: Path) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    result = subprocess.run(
        [sys.executable, "-c", STOP, ROOT / "stages/prepare.py", "", "data/"],
        cwd=tmp_path, env={"PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert result.returncode == STOPPED, result.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["params.yaml"]
