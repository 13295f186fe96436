"""The bill of materials of the Docker image."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.pipeline.imports import ROOT

LISTING: dict[str, Any] = {
    "python": [["NumPy_x", "2.0", "BSD-3-Clause"], ["odd", "1", "As we like"], ["bare", "3", ""]],
    "debian": [["libc6", "2.36-9+deb12u1", "amd64"]],
    "interpreter": "3.11.9",
    "graph": "ab" * 32,
    "system": "bookworm",
}


def sbom(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run `make sbom` with this script in place of `docker`."""
    docker = folder / "docker"
    docker.write_text(f"#!{sys.executable}\nimport sys\n{script}\n")
    docker.chmod(0o755)
    command = [sys.executable, ROOT / ".ci/sbom.py", "images", "--docker", str(docker)]
    return subprocess.run(
        [*command, "--output", folder / "bill.json"],
        capture_output=True, text=True, check=False, env=os.environ,
    )  # fmt: skip


def test_the_bill_lists_the_contents_of_the_image(tmp_path: Path) -> None:
    result = sbom(tmp_path, f"assert 'images' in sys.argv; print({json.dumps(LISTING)!r})")
    assert result.returncode == 0, result.stderr
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
    [image] = [entry for entry in bill["dependencies"] if entry["ref"] == "image"]
    assert len(image["dependsOn"]) == len(bill["components"]) == 6


def test_without_an_image_nothing_is_written(tmp_path: Path) -> None:
    result = sbom(tmp_path, "sys.exit('No such image: images')")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "sbom: images: No such image: images; run `make image` first\n"
    assert not (tmp_path / "bill.json").exists()
