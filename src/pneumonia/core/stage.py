"""What every file in `stages/` shares: its command line, its params, its errors, its outputs."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import yaml

from pneumonia.core.config import Params, load_params
from pneumonia.core.errors import InputError, disk_trouble


def run(name: str, description: str | None, main: Callable[[Params], None]) -> None:
    """Parse the command line, check `params.yaml`, call `main` with it.

    An `InputError` ends the process with status 1 and its own lines on standard error, so that a
    user reads the reason and not a stack trace, and so does a disk that is full or closed to
    writing; any other exception is a bug and keeps its trace.
    """
    parser = argparse.ArgumentParser(
        prog=f"stages/{name}.py",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"Run by `dvc repro {name}`. Knobs: the `{name}` block of params.yaml.",
    )
    parser.add_argument(
        "--params", type=Path, default=Path("params.yaml"), help="params file (params.yaml)"
    )
    arguments = parser.parse_args()
    # Before TensorFlow is imported by anyone: its start-up lines are noise to a reader.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        main(load_params(arguments.params))
    except InputError as error:
        _end(name, str(error))
    except Exception as error:
        told = disk_trouble(error)
        if not told:
            raise
        _end(name, told)


def _end(name: str, told: str) -> NoReturn:
    for line in told.splitlines():
        print(f"{name}: {line}", file=sys.stderr)
    sys.exit(1)


def sources(name: str) -> list[Path]:
    """The files that decide what a stage computes, params and data aside.

    These are its code and the locked libraries; a test holds the list in dvc.yaml to its imports.
    """
    stages = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"]
    return [Path(file) for file in stages[name]["deps"] if file.endswith((".py", ".txt"))]
