"""The mutation check on a tiny repository with one module and one test file."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.mutants.mutant import Mutant
from tests.mutants.running import BROKEN, CAUGHT, HANGS, SURVIVED, copied, run_tests

CODE = "def half(number):\n    return number / 2\n"
TESTS = """import pytest

from code_of_it import half


@pytest.fixture
def four():
    return int(8 * half(1))


@pytest.mark.timeout(2)
def test_half(four):
    assert half(four) == 2
"""


# The plugins of pytest that are needed. The others take seconds to load.
PLUGINS = ("-p", "pytest_timeout", "-p", "xdist")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    folder = tmp_path / "root"
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "code_of_it.py").write_text(CODE)
    (folder / "test_it.py").write_text(TESTS)
    author = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    for command in (
        ["init", "--quiet"], ["add", "."], [*author, "commit", "--quiet", "-m", "Begin"],
    ):  # fmt: skip
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


def bug(new: str) -> Mutant:
    return Mutant("bug", "src/code_of_it.py", "return number / 2", new, "", ("test_it.py",))


@pytest.mark.parametrize(
    ("new", "verdict", "test", "reason"),
    [
        ("return number / 2 + 0", SURVIVED, "", ""),
        ("return number / 3", CAUGHT, "test_it.py::test_half", "assert"),
        ("return number / 0", CAUGHT, "test_it.py::test_half", "failed on setup"),
        ("import time; time.sleep(60)", HANGS, "test_it.py::test_half", "Timeout"),
        ("return (", BROKEN, "test_it.py::test_it", "collection failure"),
        ("import os; os._exit(3)", BROKEN, "", "pytest ended with status 3 and no report"),
    ],
)
def test_a_bug_is_caught_if_a_test_fails(
    root: Path, new: str, verdict: str, test: str, reason: str
) -> None:
    with copied(root, "HEAD", bug(new)) as copy:
        outcome = run_tests(copy, [*PLUGINS, "test_it.py"])
    assert (outcome.verdict, outcome.counts) == (verdict, verdict in (CAUGHT, HANGS))
    assert outcome.test == test
    assert reason in outcome.reason
    assert (root / "src" / "code_of_it.py").read_text() == CODE


def test_a_worker_that_dies_does_not_catch_a_bug(root: Path) -> None:
    with copied(root, "HEAD", bug("import os; os._exit(3)")) as copy:
        outcome = run_tests(copy, [*PLUGINS, "--numprocesses", "1"])
    assert outcome.verdict == BROKEN
    assert "crashed" in outcome.reason


def test_a_bug_whose_text_is_missing_is_an_error(root: Path) -> None:
    missing = Mutant("missing", "src/code_of_it.py", "number / 4", "number", "", ())
    with (
        pytest.raises(ValueError, match="missing: its old text is 0 times"),
        copied(root, "HEAD", missing),
    ):
        pass
