"""The list of mutants fits the present code."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutants.mutant import Mutant
from tests.mutants.mutants import MUTANTS
from tests.pipeline.imports import ROOT


def seeded(mutant: Mutant) -> str:
    return mutant.seeded((ROOT / mutant.file).read_text(encoding="utf-8"))


def test_there_are_twenty_with_unique_names() -> None:
    names = [mutant.name for mutant in MUTANTS]
    assert len(set(names)) == len(names) == 20
    assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in names)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_changes_the_program_and_its_tests_exist(mutant: Mutant) -> None:
    present = (ROOT / mutant.file).read_text(encoding="utf-8")
    assert ast.dump(ast.parse(seeded(mutant))) != ast.dump(ast.parse(present))
    assert all((ROOT / path).is_file() for path in mutant.first)


def test_no_mutant_uses_an_undefined_name(tmp_path: Path) -> None:
    # Any test would catch a NameError, which is not the intended bug.
    for mutant in MUTANTS:
        (tmp_path / f"{mutant.name.replace('-', '_')}.py").write_text(seeded(mutant))
    command = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--isolated",
        "--no-cache",
        "--select",
        "F821",
    ]
    result = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
