"""The Docker image.

The table gives the size of the image that `make image` builds, and of its largest layers. The limit
is the size of its base image. As for make, the variable DOCKER names the client, and IMAGE names
the image.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

from benchmarks.measurement import Row, Setting

LAYERS = 3  # how many of the largest ones are shown


def measure(setting: Setting) -> list[Row]:
    """Megabytes, or the reason why they are not known."""
    image = os.environ.get("IMAGE", setting.model.removeprefix("models:/").partition("@")[0])
    base = _base(Path("Dockerfile").read_text(encoding="utf-8"))
    try:
        whole, layers = _megabytes(image), _layers(image)
    except (OSError, subprocess.CalledProcessError) as error:
        return [Row("image", "MB", note=_last_line(error))]
    try:
        least = _megabytes(base)
    except subprocess.CalledProcessError:  # some builders do not keep the base image
        rows = [Row(f"`{image}`", "MB", [whole])]
    else:
        rows = [Row(f"`{image}`", "MB", [whole], limit=f"`{base}`", bound=[least])]
    return rows + [Row(f"layer {instruction}", "MB", [size]) for size, instruction in layers]


def _last_line(error: OSError | subprocess.CalledProcessError) -> str:
    """The last line that the client printed."""
    message = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
    return (message or str(error)).strip().splitlines()[-1]


def _docker(*arguments: str) -> str:
    client = os.environ.get("DOCKER", "docker")
    ran = subprocess.run([client, *arguments], capture_output=True, text=True, check=True)
    return ran.stdout


def _base(dockerfile: str) -> str:
    [line] = [line for line in dockerfile.splitlines() if line.startswith("ARG PYTHON=")]
    return line.partition("=")[2]


def _megabytes(image: str) -> float:
    return float(_docker("image", "inspect", "--format", "{{.Size}}", image)) / 1e6


def _layers(image: str) -> list[tuple[float, str]]:
    """The largest layers: megabytes, and the start of the instruction."""
    history = _docker("history", "--human=false", "--no-trunc", "--format", "{{json .}}", image)
    lines = [json.loads(line) for line in history.splitlines()]
    layers = [(float(line["Size"]) / 1e6, _instruction(line["CreatedBy"])) for line in lines]
    return sorted(layers)[::-1][:LAYERS]


def _instruction(created_by: str) -> str:
    """The instruction as in the Dockerfile, without the shell and the hash of a copied file."""
    text = re.sub(r"^/bin/sh -c (#\(nop\))?", "", " ".join(created_by.split())).strip()
    text = re.sub(r"(dir|file|multi):[0-9a-f]{64} in ", "", text)[:60].replace("|", "/")
    # The instructions of the base image are not always kept.
    return f"`{text}`" if text else "of the base"
