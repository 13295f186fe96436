"""Whether tests catch a bug: a copy of the repository, pytest in it, and what its report says."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from tests.mutants.mutant import Mutant

LONGEST = 3600  # s of a run of pytest; each test has a limit of its own, in pyproject.toml

CAUGHT, HANGS, SURVIVED, BROKEN = "caught", "hangs", "survived", "broken"


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant.

    Attributes:
        verdict: CAUGHT, a test failed by an assertion or an exception; HANGS, one ran into its own
            time limit; SURVIVED, all passed; BROKEN, nothing can be said, and it counts as not
            caught: tests that cannot be collected, a worker that died, no report.
        test: that failed, as pytest names it; "" without one.
        reason: first line of why.
        seconds: that it took.
    """

    verdict: str
    test: str = ""
    reason: str = ""
    seconds: float = 0.0

    @property
    def counts(self) -> bool:
        """Whether the suite has caught it."""
        return self.verdict in (CAUGHT, HANGS)


@contextmanager
def copied(root: Path, commit: str, mutant: Mutant | None = None) -> Iterator[Path]:
    """A clone of a repository at a commit in a temporary folder, with a bug or without."""
    with TemporaryDirectory(prefix="mutant-") as folder:
        copy = Path(folder) / "copy"
        subprocess.run(["git", "clone", "--quiet", str(root), str(copy)], check=True)
        subprocess.run(["git", "checkout", "--quiet", commit], cwd=copy, check=True)
        if mutant:
            mutant.seed(copy)
        yield copy


def run_tests(copy: Path, options: Sequence[str]) -> Outcome:
    """Run pytest in a copy up to the first failure; its output goes to pytest.log beside it.

    The package comes from the copy, in processes that tests start as well, as long as they keep
    the environment. Those that clear it find the package where the environment of Python has it
    installed, so without the bug: that can only let a mutant survive.
    """
    report = copy.with_name("report.xml")
    report.unlink(missing_ok=True)
    paths = os.pathsep.join([str(copy / "src"), str(copy)])
    # The list's own test sees that a text is gone, so it would catch everything.
    command = [sys.executable, "-m", "pytest", "-x", "--ignore=tests/mutants", *options]
    command += ["-p", "no:cacheprovider", "-o", "junit_family=xunit1", f"--junitxml={report}"]
    begun = perf_counter()
    with copy.with_name("pytest.log").open("ab") as log:
        try:
            status = subprocess.run(
                command, cwd=copy, env=os.environ | {"PYTHONPATH": paths},
                stdout=log, stderr=subprocess.STDOUT, timeout=LONGEST, check=False,
            ).returncode  # fmt: skip
        except subprocess.TimeoutExpired:
            return Outcome(BROKEN, reason=f"tests took over {LONGEST} s")
    took = round(perf_counter() - begun, 1)
    verdict, test, reason = _read(report, status)
    return Outcome(verdict, test, reason, took)


def _read(report: Path, status: int) -> tuple[str, str, str]:
    """Verdict, test and reason of a run that ended with a status."""
    try:
        cases = list(ET.parse(report).getroot().iter("testcase"))
    except (OSError, ET.ParseError):
        return BROKEN, "", f"pytest ended with status {status} and no report"
    for case in cases:
        found = next((one for one in case if one.tag in ("failure", "error")), None)
        if found is not None:
            told = found.get("message", "")
            reason = (told.splitlines() or [""])[0][:200]
            return _judge(told), f"{case.get('file')}::{case.get('name')}", reason
    if status == 0 and cases:
        return SURVIVED, "", ""
    return BROKEN, "", f"pytest ended with status {status} after {len(cases)} tests"


def _judge(told: str) -> str:
    """Of a failure, or of an error: a fixture that raised is an exception like any other."""
    if told.startswith(("collection failure", "internal error")) or "crashed while running" in told:
        return BROKEN
    return HANGS if "from pytest-timeout" in told else CAUGHT
