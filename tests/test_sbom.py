"""The image's bill of materials."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.pipeline.imports import ROOT

FOUND: dict[str, Any] = {
    "python": [["NumPy_x", "2.0", "BSD-3-Clause"], ["odd", "1", "As we like"], ["bare", "3", ""]],
    "debian": [["libc6", "2.36-9+deb12u1", "amd64"]],
    "interpreter": "3.11.9",
    "graph": "ab" * 32,
    "system": "bookworm",
}


def sbom(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    """`make sbom`, where `docker` is this script."""
    docker = folder / "docker"
    docker.write_text(f"#!{sys.executable}\nimport sys\n{script}\n")
    docker.chmod(0o755)
    command = [sys.executable, ROOT / ".ci/sbom.py", "images", "--docker", str(docker)]
    return subprocess.run(
        [*command, "--output", folder / "bill.json"],
        capture_output=True, text=True, check=False, env=os.environ,
    )  # fmt: skip


def test_the_bill_has_what_the_image_says(tmp_path: Path) -> None:
    ran = sbom(tmp_path, f"assert 'images' in sys.argv; print({json.dumps(FOUND)!r})")
    assert ran.returncode == 0, ran.stderr
    bill = json.loads((tmp_path / "bill.json").read_text())
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "images")
    parts = {part["name"]: part for part in bill["components"]}
    assert parts["NumPy_x"]["purl"] == "pkg:pypi/numpy-x@2.0"
    assert parts["NumPy_x"]["licenses"] == [{"license": {"id": "BSD-3-Clause"}}]
    assert parts["odd"]["licenses"] == [{"license": {"name": "As we like"}}]
    assert "licenses" not in parts["bare"]
    assert parts["libc6"]["purl"].startswith("pkg:deb/debian/libc6@2.36-9%2Bdeb12u1?")
    assert parts["python"]["version"] == "3.11.9"
    assert parts["graph.onnx"]["hashes"] == [{"alg": "SHA-256", "content": "ab" * 32}]
    [image] = [one for one in bill["dependencies"] if one["ref"] == "image"]
    assert len(image["dependsOn"]) == len(bill["components"]) == 6


def test_without_an_image_there_is_no_bill(tmp_path: Path) -> None:
    ran = sbom(tmp_path, "sys.exit('No such image: images')")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == "sbom: images: No such image: images; `make image` first\n"
    assert not (tmp_path / "bill.json").exists()
