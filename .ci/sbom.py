"""List the contents of the Docker image (CycloneDX): `make sbom`, after `make image`.

The image's own Python lists the packages of Python and Debian and hashes the model's graph. So the
list shows what is in the image, not what was planned.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

# Runs inside the image, with the standard library only.
LISTING = """
import hashlib, json, platform, subprocess
from importlib.metadata import distributions
from pathlib import Path
python = []
for distribution in distributions():
    metadata = distribution.metadata
    classes = [c.split(" :: ")[-1] for c in metadata.get_all("Classifier", []) if c.startswith("License ::")]
    licence = metadata.get("License-Expression") or " AND ".join(classes) or metadata.get("License") or ""
    python.append([metadata["Name"], distribution.version, licence.splitlines()[0] if licence else ""])
form = "${Package}\\t${Version}\\t${Architecture}\\n"
debian = subprocess.run(["dpkg-query", "-W", "-f", form], capture_output=True, text=True, check=True)
system = platform.freedesktop_os_release()
graph = hashlib.sha256(Path("/opt/model/artifacts/graph.onnx").read_bytes()).hexdigest()
print(json.dumps({"python": python, "debian": [line.split("\\t") for line in debian.stdout.splitlines()],
                  "interpreter": platform.python_version(), "graph": graph,
                  "system": system["VERSION_CODENAME"]}))
"""  # noqa: E501


def main() -> int:
    """List the contents and write them; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("image", help="name of the Docker image")
    parser.add_argument("--docker", default="docker", help="Docker client (default: docker)")
    parser.add_argument("--output", type=Path, default=Path("build/sbom.cdx.json"))
    arguments = parser.parse_args()
    docker = [arguments.docker, "run", "--rm", "--network=none", "--entrypoint=python"]
    try:
        result = subprocess.run(
            [*docker, arguments.image, "-c", LISTING], capture_output=True, text=True, check=True
        )
    except FileNotFoundError:
        print(
            f"sbom: {arguments.docker}: no such program; name the client with DOCKER=...",
            file=sys.stderr,
        )
        return 1
    except subprocess.CalledProcessError as error:
        print(
            f"sbom: {arguments.image}: {error.stderr.strip()}; run `make image` first",
            file=sys.stderr,
        )
        return 1
    text = to_json(bill_of_materials(arguments.image, json.loads(result.stdout)))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(text, encoding="utf-8")
    print(f"{arguments.output}: {len(json.loads(text)['components'])} components")
    return 0


def bill_of_materials(image: str, listing: dict[str, Any]) -> Bom:
    """The bill of materials of an image, from the output of `LISTING`."""
    bom = Bom()
    bom.metadata.component = Component(name=image, type=ComponentType.CONTAINER, bom_ref="image")
    parts = sorted(_components(listing), key=lambda part: part.bom_ref.value or "")
    bom.components.update(parts)
    bom.register_dependency(bom.metadata.component, parts)
    return bom


def to_json(bom: Bom) -> str:
    """The bill of materials as JSON.

    Raises:
        AssertionError: the JSON does not follow the schema.
    """
    version = SchemaVersion.V1_6
    text = make_outputter(bom, OutputFormat.JSON, version).output_as_string(indent=2)
    problem = JsonStrictValidator(version).validate_str(text)
    assert not problem, problem
    return text


def _components(listing: dict[str, Any]) -> Iterator[Component]:
    licences = LicenseFactory()
    for name, version, licence in listing["python"]:
        url = PackageURL("pypi", None, name.lower().replace("_", "-"), version)
        known = [licences.make_from_string(licence)] if licence else []
        yield _component(name, version, url, licenses=known)
    for name, version, architecture in listing["debian"]:
        qualifiers = {"arch": architecture, "distro": listing["system"]}
        yield _component(name, version, PackageURL("deb", "debian", name, version, qualifiers))
    version = listing["interpreter"]
    yield _component("python", version, PackageURL("generic", None, "python", version))
    yield Component(
        name="graph.onnx", type=ComponentType.MACHINE_LEARNING_MODEL, bom_ref="graph",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=listing["graph"])],
    )  # fmt: skip


def _component(name: str, version: str, url: PackageURL, **more: Any) -> Component:
    kind = ComponentType.LIBRARY
    return Component(
        name=name, version=version, type=kind, purl=url, bom_ref=url.to_string(), **more
    )


if __name__ == "__main__":
    sys.exit(main())
