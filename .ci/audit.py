"""Known vulnerabilities in the locked requirements, by pip-audit: `make audit`.

Exit status: 1 with one, or with a package that the service does not know; else 0. Where nothing can
be asked, as not every network lets the service through, that is said, and the status is 0.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

LOCKS = (
    "requirements.txt",
    "requirements-dev.txt",
    "requirements-serve.txt",
    "requirements-search.txt",
    "requirements-team.txt",
    "requirements-ray.txt",
    "requirements-bench.txt",
    "requirements-spark.txt",
)
COMMAND = ("pip-audit", "--disable-pip", "--require-hashes", "--format", "json")


def main(root: Path) -> int:
    """Ask, tell, and give the exit status."""
    files = [argument for lock in LOCKS for argument in ("--requirement", str(root / lock))]
    ran = subprocess.run([*COMMAND, *files], capture_output=True, text=True, check=False)
    try:
        packages: list[dict[str, Any]] = json.loads(ran.stdout)["dependencies"]
    except ValueError:
        reason = ran.stderr.strip().rpartition("\n")[2]
        if "connect" not in reason.lower():
            print(ran.stderr, file=sys.stderr)
            return 1
        print(f"audit: skipped: no service that knows vulnerabilities can be reached: {reason}")
        return 0
    unknown = [one["name"] for one in packages if "skip_reason" in one]
    if len(unknown) == len(packages):
        print(f"audit: skipped: the package index here knows of none of {len(packages)} packages")
        return 0
    found = [
        f"{one['name']} {one['version']}: {hole['id']}, mended in {hole['fix_versions'] or 'none'}"
        for one in packages
        for hole in one.get("vulns", ())
    ]
    for line in found + [f"{name}: not known to the service" for name in unknown]:
        print(f"audit: {line}")
    print(f"audit: {len(found)} known vulnerabilities in {len(packages)} packages")
    return 1 if found or unknown else 0


if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parents[1]))
