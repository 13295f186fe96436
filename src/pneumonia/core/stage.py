"""Code that all files in `stages/` share: command line, params, errors and list of sources."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

import yaml

from pneumonia.core.config import Params, load_params
from pneumonia.core.errors import InputError, disk_trouble

CODE = ("src", "stages")


def run(name: str, description: str | None, main: Callable[[Params], None]) -> None:
    """Parse the command line, check `params.yaml` and call `main` with the params.

    An `InputError`, or an error of a full or write-protected disk, ends the process with status 1
    and a message on standard error. Any other exception is a bug and keeps its stack trace.
    """
    parser = argparse.ArgumentParser(
        prog=f"stages/{name}.py",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"Run by `dvc repro {name}`. Params: the `{name}` block of params.yaml.",
    )
    parser.add_argument(
        "--params", type=Path, default=Path("params.yaml"), help="params file (params.yaml)"
    )
    arguments = parser.parse_args()
    # Before TensorFlow is imported: its start-up messages mean nothing to the user.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        main(load_params(arguments.params))
    except Exception as error:
        message = str(error) if isinstance(error, InputError) else disk_trouble(error)
        if not message:
            raise
        for line in message.splitlines():
            print(f"{name}: {line}", file=sys.stderr)
        sys.exit(1)


def sources(name: str) -> list[Path]:
    """A sorted list of the files, except params and data, that a stage's outputs depend on.

    They are the stage's code and `requirements.txt`. The list comes from `deps` in `dvc.yaml`; a
    test compares `deps` with the stage's imports. A folder stands for all Python files below it.
    The paths are relative to the repository's root, which must be the current folder.
    """
    stages = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"]
    files: set[Path] = set()
    for dependency in map(Path, stages[name]["deps"]):
        if dependency.parts[0] in CODE:
            files |= set(dependency.rglob("*.py")) if dependency.is_dir() else {dependency}
        elif dependency.suffix == ".txt":
            files.add(dependency)
    return sorted(files)
