"""Seed bugs, one at a time, into copies of the repository: does the test suite catch them?

The copies are clones of the last commit. For each mutant, the test files where a test for it is
expected run first; if they pass, the tests of `make test` run. A test that catches a mutant counts
only if it passes without the bug. Verdicts are stored in build/mutants.json, so that a run that was
stopped can continue. A mutant is run again if it or any committed file has changed.

Exit status: 0 if at least 18 of the 20 mutants are caught, or with --only all that are named;
1 if fewer are caught; 2 if there is no result.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tests.mutants.mutant import Mutant
from tests.mutants.mutants import MUTANTS
from tests.mutants.running import BROKEN, CAUGHT, HANGS, SURVIVED, Outcome, copied, run_tests

LEAST = 18  # of the twenty
WORDS = {
    CAUGHT: "caught by",
    HANGS: "caught by a time limit:",
    SURVIVED: SURVIVED,
    BROKEN: "broken:",
}


@dataclass(frozen=True)
class Source:
    """What is copied: a repository, a commit, and the hash of the files of that commit."""

    root: Path
    commit: str
    tree: str


class Results:
    """Outcomes by key, written to disk after each mutant."""

    def __init__(self, file: Path, tree: str, fresh: bool) -> None:
        self.file = file
        stored = {} if fresh or not file.exists() else json.loads(file.read_text())
        # Outcomes of other commits are not needed again.
        self.known = {
            key: Outcome(**outcome) for key, outcome in stored.items() if key.endswith(tree)
        }

    def keep(self, key: str, outcome: Outcome) -> Outcome:
        """Store an outcome and return it."""
        self.known[key] = outcome
        self.file.parent.mkdir(parents=True, exist_ok=True)
        writing = self.file.with_suffix(".writing")
        content = {key: asdict(stored) for key, stored in self.known.items()}
        writing.write_text(json.dumps(content, indent=2) + "\n")
        writing.rename(self.file)
        return outcome


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the mutants, print a line for each and a table; return the exit status."""
    options = _parser().parse_args(arguments)
    root = Path(__file__).resolve().parents[2]
    if _git(root, "status", "--porcelain", "--untracked-files=no"):
        print("mutants: bugs are seeded into the last commit; commit your changes first")
        return 2
    source = Source(root, *_git(root, "rev-parse", "HEAD", "HEAD^{tree}").split())
    chosen = [mutant for mutant in MUTANTS if not options.only or mutant.name in options.only]
    results = Results(root / "build" / "mutants.json", source.tree, options.fresh)
    first = sorted({path for mutant in chosen for path in mutant.first})
    control = _without_bug(results, source, first)
    if control.verdict != SURVIVED:
        print(f"mutants: without a bug {control.test} does not pass: {control.reason}")
        return 2
    seconds = f"{control.seconds:.0f} s"
    print(f"mutants: without a bug {len(first)} test files pass ({seconds})", flush=True)
    outcomes = {}
    for number, mutant in enumerate(chosen, 1):
        key = f"{mutant.name} {mutant.sha256} {source.tree}"
        outcome = results.known.get(key)
        if outcome is None:
            outcome = _run(results, source, mutant, options.parallel)
            if outcome.verdict != BROKEN:
                results.keep(key, outcome)
        outcomes[mutant] = outcome
        verdict = f"{WORDS[outcome.verdict]} {outcome.test or outcome.reason}".strip()
        progress = f"{number} of {len(chosen)} {mutant.name}"
        print(f"mutants: {progress}: {verdict} ({outcome.seconds:.0f} s)", flush=True)
    caught = sum(outcome.counts for outcome in outcomes.values())
    print(f"\n{_table(outcomes)}\n\nmutants: {caught} of {len(chosen)} caught")
    return int(caught < (len(chosen) if options.only else LEAST))


def _parser() -> argparse.ArgumentParser:
    description, _, epilog = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutants", description=description, epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    names = [mutant.name for mutant in MUTANTS]
    parser.add_argument(
        "--only",
        nargs="+",
        choices=names,
        metavar="NAME",
        help=f"run only these, of {', '.join(names)}",
    )
    parser.add_argument("--fresh", action="store_true", help="ignore stored verdicts")
    parser.add_argument(
        "--parallel",
        default="",
        metavar="FLAGS",
        help="pytest's options for the whole suite (none)",
    )
    return parser


def _run(results: Results, source: Source, mutant: Mutant, parallel: str) -> Outcome:
    """Run the expected test files, then the whole suite, with a mutant."""
    with copied(source.root, source.commit, mutant) as copy:
        outcome = run_tests(copy, mutant.first)
        if outcome.verdict == SURVIVED:
            suite = run_tests(copy, shlex.split(parallel))
            outcome = replace(suite, seconds=outcome.seconds + suite.seconds)
            if outcome.counts:
                plain = _without_bug(results, source, [outcome.test])
                if plain.verdict != SURVIVED:
                    reason = f"{outcome.test} fails without a bug, too: {plain.reason}"
                    outcome = replace(outcome, verdict=BROKEN, test="", reason=reason)
        log = source.root / "build" / "mutants" / f"{mutant.name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(copy.with_name("pytest.log"), log)
    return outcome


def _without_bug(results: Results, source: Source, tests: Sequence[str]) -> Outcome:
    """The outcome of some tests in a copy without a bug."""
    key = f"without a bug {hashlib.sha256(json.dumps(tests).encode()).hexdigest()} {source.tree}"
    if key in results.known:
        return results.known[key]
    with copied(source.root, source.commit) as copy:
        outcome = run_tests(copy, tests)
    # A failure is not stored: it may be temporary, and no mutant can run until it is gone.
    return results.keep(key, outcome) if outcome.verdict == SURVIVED else outcome


def _table(outcomes: dict[Mutant, Outcome]) -> str:
    """A table in Markdown: name, bug, the test that caught it."""
    rows = ["| name | why a programmer would write it | caught by |", "| --- | --- | --- |"]
    for mutant, outcome in outcomes.items():
        caught_by = f"`{outcome.test}`" if outcome.counts else outcome.verdict
        rows.append(f"| {mutant.name} | {mutant.why} | {caught_by} |")
    return "\n".join(rows)


def _git(root: Path, *command: str) -> str:
    return subprocess.run(
        ["git", *command], cwd=root, capture_output=True, text=True, check=True
    ).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
