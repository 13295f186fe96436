"""Seed bugs, one at a time, in copies of the repository: does the test suite catch each?

The copies are of the last commit. For each mutant the tests where one would look for it run first;
if they pass, those of `make test`. The tests that run first, and any other one that catches a
mutant, have to pass without a bug, or nothing is said. Verdicts go to build/mutants.json, so that
a run that was stopped goes on; a mutant is judged anew when it or anything committed has changed.

Exit status: 0 if at least 18 of the 20 are caught, or all of those that --only names; 1 if not;
2 if nothing can be said.
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
WORDS = {CAUGHT: "caught by", HANGS: "caught by hanging:", SURVIVED: SURVIVED, BROKEN: "broken:"}


@dataclass(frozen=True)
class Source:
    """What is copied: a repository, one of its commits, and the hash of that one's files."""

    root: Path
    commit: str
    tree: str


class Results:
    """Verdicts by key, on disk after each one."""

    def __init__(self, file: Path, tree: str, fresh: bool) -> None:
        self.file = file
        known = {} if fresh or not file.exists() else json.loads(file.read_text())
        # Nobody asks for those of other trees again.
        self.known = {k: Outcome(**found) for k, found in known.items() if k.endswith(tree)}

    def keep(self, key: str, outcome: Outcome) -> Outcome:
        """Write a verdict down."""
        self.known[key] = outcome
        self.file.parent.mkdir(parents=True, exist_ok=True)
        writing = self.file.with_suffix(".writing")
        content = {key: asdict(found) for key, found in self.known.items()}
        writing.write_text(json.dumps(content, indent=2) + "\n")
        writing.rename(self.file)
        return outcome


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge mutants, print a line each and a table, and give the exit status."""
    given = _parser().parse_args(arguments)
    root = Path(__file__).resolve().parents[2]
    if _git(root, "status", "--porcelain", "--untracked-files=no"):
        print("mutants: bugs are put into the last commit: commit your changes first")
        return 2
    source = Source(root, *_git(root, "rev-parse", "HEAD", "HEAD^{tree}").split())
    chosen = [mutant for mutant in MUTANTS if not given.only or mutant.name in given.only]
    results = Results(root / "build" / "mutants.json", source.tree, given.fresh)
    first = sorted({path for mutant in chosen for path in mutant.first})
    control = _without_bug(results, source, first)
    if control.verdict != SURVIVED:
        print(f"mutants: without a bug {control.test} does not pass: {control.reason}")
        return 2
    took = f"{control.seconds:.0f} s"
    print(f"mutants: without a bug {len(first)} files of tests pass ({took})", flush=True)
    found = {}
    for number, mutant in enumerate(chosen, 1):
        key = f"{mutant.name} {mutant.sha256} {source.tree}"
        one = results.known.get(key)
        if one is None:
            one = _judge(results, source, mutant, given.parallel)
            if one.verdict != BROKEN:
                results.keep(key, one)
        found[mutant] = one
        told = f"{WORDS[one.verdict]} {one.test or one.reason}".strip()
        print(
            f"mutants: {number} of {len(chosen)} {mutant.name}: {told} ({one.seconds:.0f} s)",
            flush=True,
        )
    caught = sum(one.counts for one in found.values())
    print(f"\n{_table(found)}\n\nmutants: {caught} of {len(chosen)} caught")
    return int(caught < (len(chosen) if given.only else LEAST))


def _parser() -> argparse.ArgumentParser:
    about, _, more = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutants", description=about, epilog=more,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    names = [mutant.name for mutant in MUTANTS]
    parser.add_argument(
        "--only", nargs="+", choices=names, metavar="NAME", help=f"some of {', '.join(names)}"
    )
    parser.add_argument("--fresh", action="store_true", help="forget former verdicts")
    parser.add_argument(
        "--parallel", default="", metavar="FLAGS", help="pytest's for the whole suite (none)"
    )
    return parser


def _judge(results: Results, source: Source, mutant: Mutant, parallel: str) -> Outcome:
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
    """What some tests say of a copy without a bug."""
    key = f"without a bug {hashlib.sha256(json.dumps(tests).encode()).hexdigest()} {source.tree}"
    if key in results.known:
        return results.known[key]
    with copied(source.root, source.commit) as copy:
        found = run_tests(copy, tests)
    # A failure is not kept: it may be this moment's, and it stands in the way of everything.
    return results.keep(key, found) if found.verdict == SURVIVED else found


def _table(found: dict[Mutant, Outcome]) -> str:
    """In Markdown: name, bug, what caught it."""
    rows = [
        f"| {mutant.name} | {mutant.why} | {f'`{one.test}`' if one.counts else one.verdict} |"
        for mutant, one in found.items()
    ]
    return "\n".join(
        ["| name | how one comes to write it | caught by |", "| --- | --- | --- |", *rows]
    )


def _git(root: Path, *command: str) -> str:
    return subprocess.run(
        ["git", *command], cwd=root, capture_output=True, text=True, check=True
    ).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
