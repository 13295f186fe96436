"""Look for known vulnerabilities in the locked requirements with pip-audit: `make audit`.

Exit status: 1 if there is a vulnerability, or a package that the service does not know. If the
service cannot be reached, as in some networks, the audit is skipped with a message and status 0.
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
    """Run pip-audit and print its findings; return the exit status."""
    files = [argument for lock in LOCKS for argument in ("--requirement", str(root / lock))]
    result = subprocess.run([*COMMAND, *files], capture_output=True, text=True, check=False)
    try:
        packages: list[dict[str, Any]] = json.loads(result.stdout)["dependencies"]
    except ValueError:
        reason = result.stderr.strip().rpartition("\n")[2]
        if "connect" not in reason.lower():
            print(result.stderr, file=sys.stderr)
            return 1
        print(f"audit: skipped: the vulnerability service cannot be reached: {reason}")
        return 0
    unknown = [package["name"] for package in packages if "skip_reason" in package]
    if len(unknown) == len(packages):
        print(f"audit: skipped: the package index knows none of the {len(packages)} packages")
        return 0
    vulnerable = [
        f"{package['name']} {package['version']}: {vulnerability['id']}, "
        f"fixed in {', '.join(vulnerability['fix_versions']) or 'no version yet'}"
        for package in packages
        for vulnerability in package.get("vulns", ())
    ]
    for line in vulnerable + [f"{name}: not known to the service" for name in unknown]:
        print(f"audit: {line}")
    print(f"audit: {len(vulnerable)} known vulnerabilities in {len(packages)} packages")
    return 1 if vulnerable or unknown else 0


if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parents[1]))
