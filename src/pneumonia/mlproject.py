"""The command `pneumonia run`: run all stages, or one stage and all stages before it.

The entry points of MLproject call it. Without values, it runs `dvc repro`. With values, it runs an
experiment (`dvc exp run -S`), so DVC stores params and result together. It checks values first.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumonia.core.errors import InputError

if TYPE_CHECKING:
    from pneumonia.core.config import Params

PARAMS = Path("params.yaml")
DESCRIPTION = """Run a stage and those before it, as far as something changed.

KEY is a param of the stage's block in params.yaml, or BLOCK.PARAM. With values,
the run is an experiment of DVC. An empty VALUE means the value in params.yaml."""
ALL = "main"  # MLflow's name for the default entry point
STAGES = (
    "prepare", "visualize", "train_scratch", "train_transfer", "evaluate", "gradcam_report",
    "register",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `pneumonia run`; the caller stores all other words as `knobs`."""
    parser.usage = "%(prog)s [-h] STAGE [--KEY VALUE]..."
    parser.add_argument(
        "stage", choices=[ALL, *STAGES], metavar="STAGE", help=f"{', '.join(STAGES)}; {ALL}: all"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run DVC; return the exit status of DVC.

    Raises:
        InputError: see `read_knobs`.
    """
    from pneumonia.core.config import load_params

    stage = arguments.stage
    values = read_knobs(load_params(PARAMS), stage, arguments.knobs)
    command = ["exp", "run"] if values else ["repro"]
    command += [part for key, value in values.items() for part in ("-S", f"{key}={value}")]
    command += [] if stage == ALL else [stage]
    # Use the DVC of this Python environment.
    return subprocess.run([sys.executable, "-m", "dvc", *command], check=False).returncode


def read_knobs(params: Params, stage: str, words: list[str]) -> dict[str, str]:
    """Read `--KEY VALUE` or `--KEY=VALUE`; return values by dotted key, for `dvc exp run -S`.

    Raises:
        InputError: a param is unknown, or its value is not allowed; one line for each problem.
    """
    import yaml

    from pneumonia.core.config import Params, changed, read_value

    words = [part for word in words for part in (word.split("=", 1) if _is_key(word) else [word])]
    if len(words) % 2 or not all(map(_is_key, words[::2])):
        raise InputError(f"{' '.join(words)}: should be --KEY VALUE, for each param")
    values: dict[str, Any] = {}
    for option, text in zip(words[::2], words[1::2], strict=True):
        key = option.removeprefix("--")
        if key.split(".")[0] not in Params.model_fields and stage != ALL:
            key = f"{stage}.{key}"
        if text:
            try:
                values[key] = read_value(text)
            except yaml.YAMLError:
                values[key] = text  # for example a regular expression
    changed(params, values)
    return {key: _quoted(value) for key, value in values.items()}


def _is_key(word: str) -> bool:
    return word.startswith("--")


def _quoted(value: Any) -> str:
    """Quote a value for Hydra, because most characters except letters and digits are special."""
    if isinstance(value, str):
        return '"{}"'.format(value.replace('"', r"\""))
    return json.dumps(value)
