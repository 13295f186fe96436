"""The list of mutants fits the code of today, so that it cannot rot."""

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


def test_there_are_twenty_and_each_has_a_name_of_its_own() -> None:
    names = [mutant.name for mutant in MUTANTS]
    assert len(set(names)) == len(names) == 20
    assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in names)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_another_program_than_the_file_of_today(mutant: Mutant) -> None:
    today = (ROOT / mutant.file).read_text(encoding="utf-8")
    assert ast.dump(ast.parse(seeded(mutant))) != ast.dump(ast.parse(today))
    assert all((ROOT / path).is_file() for path in mutant.first)


def test_no_mutant_uses_a_name_that_is_not_there(tmp_path: Path) -> None:
    # Any test would catch a NameError, and say nothing of the bug that was meant.
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
    ran = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
