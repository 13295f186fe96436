"""The Docker image.

What `make image` built, the base below it, which is its limit, and the largest layers. DOCKER names
the client, IMAGE the image, as they do for make.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

from benchmarks.rows import Row, Setting

LAYERS = 3  # the largest ones are told


def measure(setting: Setting) -> list[Row]:
    """Megabytes, or why there are none."""
    image = os.environ.get("IMAGE", setting.model.removeprefix("models:/").partition("@")[0])
    base = _base(Path("Dockerfile").read_text(encoding="utf-8"))
    try:
        whole, layers = _megabytes(image), _layers(image)
    except (OSError, subprocess.CalledProcessError) as error:
        return [Row("image", "MB", note=_said(error))]
    try:
        least = _megabytes(base)
    except subprocess.CalledProcessError:  # a builder need not keep what it builds on
        rows = [Row(f"`{image}`", "MB", [whole])]
    else:
        rows = [Row(f"`{image}`", "MB", [whole], limit=f"`{base}`", bound=[least])]
    return rows + [Row(f"layer {what}", "MB", [size]) for size, what in layers]


def _said(error: OSError | subprocess.CalledProcessError) -> str:
    """The client's last line."""
    told = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
    return (told or str(error)).strip().splitlines()[-1]


def _docker(*words: str) -> str:
    client = os.environ.get("DOCKER", "docker")
    ran = subprocess.run([client, *words], capture_output=True, text=True, check=True)
    return ran.stdout


def _base(dockerfile: str) -> str:
    [line] = [one for one in dockerfile.splitlines() if one.startswith("ARG PYTHON=")]
    return line.partition("=")[2]


def _megabytes(image: str) -> float:
    return float(_docker("image", "inspect", "--format", "{{.Size}}", image)) / 1e6


def _layers(image: str) -> list[tuple[float, str]]:
    """The largest layers: megabytes, and the beginning of what made them."""
    told = _docker("history", "--human=false", "--no-trunc", "--format", "{{json .}}", image)
    lines = [json.loads(line) for line in told.splitlines()]
    made = [(float(line["Size"]) / 1e6, _instruction(line["CreatedBy"])) for line in lines]
    return sorted(made)[::-1][:LAYERS]


def _instruction(created_by: str) -> str:
    """As the Dockerfile has it: without the shell it ran in, and the hash of what was copied."""
    told = re.sub(r"^/bin/sh -c (#\(nop\))?", "", " ".join(created_by.split())).strip()
    told = re.sub(r"(dir|file|multi):[0-9a-f]{64} in ", "", told)[:60].replace("|", "/")
    # What the base was made by is not always kept.
    return f"`{told}`" if told else "of the base"
