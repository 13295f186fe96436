"""Run pytest in a copy of the repository with a bug, and read its report."""

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

LONGEST = 3600  # seconds of a pytest run; the limit of each test is in pyproject.toml

CAUGHT, HANGS, SURVIVED, BROKEN = "caught", "hangs", "survived", "broken"


@dataclass(frozen=True)
class Outcome:
    """The result of a test run with a mutant.

    Attributes:
        verdict: CAUGHT, a test failed with an assertion or an exception; HANGS, a test exceeded its
            time limit; SURVIVED, all tests passed; BROKEN, no result, which counts as not caught:
            tests cannot be collected, a worker died, or there is no report.
        test: pytest's name of the test that failed; "" if none did.
        reason: first line of the failure.
        seconds: duration of the run.
    """

    verdict: str
    test: str = ""
    reason: str = ""
    seconds: float = 0.0

    @property
    def counts(self) -> bool:
        """Whether the tests have caught the bug."""
        return self.verdict in (CAUGHT, HANGS)


@contextmanager
def copied(root: Path, commit: str, mutant: Mutant | None = None) -> Iterator[Path]:
    """A clone of a repository at a commit in a temporary folder, with or without a bug."""
    with TemporaryDirectory(prefix="mutant-") as folder:
        copy = Path(folder) / "copy"
        subprocess.run(["git", "clone", "--quiet", str(root), str(copy)], check=True)
        subprocess.run(["git", "checkout", "--quiet", commit], cwd=copy, check=True)
        if mutant:
            mutant.seed(copy)
        yield copy


def run_tests(copy: Path, options: Sequence[str]) -> Outcome:
    """Run pytest in a copy until the first failure; the output goes to pytest.log beside the copy.

    Tests import the package from the copy; so do processes that they start, if these keep the
    environment variables. A process without them imports the installed package, which has no bug.
    That can only let a mutant survive, never count one as caught.
    """
    report = copy.with_name("report.xml")
    report.unlink(missing_ok=True)
    paths = os.pathsep.join([str(copy / "src"), str(copy)])
    # The test of the list of mutants notices every changed text and would catch all mutants.
    command = [sys.executable, "-m", "pytest", "-x", "--ignore=tests/mutants", *options]
    command += ["-p", "no:cacheprovider", "-o", "junit_family=xunit1", f"--junitxml={report}"]
    started = perf_counter()
    with copy.with_name("pytest.log").open("ab") as log:
        try:
            status = subprocess.run(
                command, cwd=copy, env=os.environ | {"PYTHONPATH": paths},
                stdout=log, stderr=subprocess.STDOUT, timeout=LONGEST, check=False,
            ).returncode  # fmt: skip
        except subprocess.TimeoutExpired:
            return Outcome(BROKEN, reason=f"tests took over {LONGEST} s")
    seconds = round(perf_counter() - started, 1)
    verdict, test, reason = _read(report, status)
    return Outcome(verdict, test, reason, seconds)


def _read(report: Path, status: int) -> tuple[str, str, str]:
    """Verdict, test and reason of a pytest run, from its report and exit status."""
    try:
        cases = list(ET.parse(report).getroot().iter("testcase"))
    except (OSError, ET.ParseError):
        return BROKEN, "", f"pytest ended with status {status} and no report"
    for case in cases:
        failure = next((child for child in case if child.tag in ("failure", "error")), None)
        if failure is not None:
            message = failure.get("message", "")
            reason = (message.splitlines() or [""])[0][:200]
            return _verdict(message), f"{case.get('file')}::{case.get('name')}", reason
    if status == 0 and cases:
        return SURVIVED, "", ""
    return BROKEN, "", f"pytest ended with status {status} after {len(cases)} tests"


def _verdict(message: str) -> str:
    """The verdict for the message of a failed test. An error in a fixture counts as a failure."""
    if message.startswith(("collection failure", "internal error")):
        return BROKEN
    if "crashed while running" in message:
        return BROKEN
    return HANGS if "from pytest-timeout" in message else CAUGHT
