"""What the mutation check says of a tiny repository with one module and one file of tests."""

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


# Of pytest's plugins those that are needed: the others take seconds to load.
PLUGINS = ("-p", "pytest_timeout", "-p", "xdist")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    folder = tmp_path / "root"
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "code_of_it.py").write_text(CODE)
    (folder / "test_it.py").write_text(TESTS)
    person = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    for command in (
        ["init", "--quiet"], ["add", "."], [*person, "commit", "--quiet", "-m", "Begin"],
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
def test_a_bug_counts_as_caught_where_a_test_fails(
    root: Path, new: str, verdict: str, test: str, reason: str
) -> None:
    with copied(root, "HEAD", bug(new)) as copy:
        found = run_tests(copy, [*PLUGINS, "test_it.py"])
    assert (found.verdict, found.counts) == (verdict, verdict in (CAUGHT, HANGS))
    assert found.test == test
    assert reason in found.reason
    assert (root / "src" / "code_of_it.py").read_text() == CODE


def test_a_worker_that_dies_catches_nothing(root: Path) -> None:
    with copied(root, "HEAD", bug("import os; os._exit(3)")) as copy:
        found = run_tests(copy, [*PLUGINS, "--numprocesses", "1"])
    assert found.verdict == BROKEN
    assert "crashed" in found.reason


def test_a_bug_whose_place_is_gone_is_not_passed_over(root: Path) -> None:
    gone = Mutant("gone", "src/code_of_it.py", "number / 4", "number", "", ())
    with (
        pytest.raises(ValueError, match="gone: its old text is 0 times"),
        copied(root, "HEAD", gone),
    ):
        pass
