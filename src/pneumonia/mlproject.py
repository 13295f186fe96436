"""What the entry points of MLproject run: a stage with what leads to it, or the whole pipeline.

Without values it is `dvc repro`. With values it is an experiment, `dvc exp run -S`, so that what
made a result is kept with it. They are checked before anything is changed or run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from pneumonia.core.config import Params, changed, load_params, read_value
from pneumonia.core.errors import InputError

PARAMS = Path("params.yaml")
ALL = "main"  # MLflow's name of the entry point that is run when none is named


def main() -> int:
    """Run a command; its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m pneumonia.mlproject",
        usage="%(prog)s [-h] STAGE [--KEY VALUE]...",
        description="What the entry points of MLproject run.",
        epilog="KEY is one of the stage's block in params.yaml, or begins with the name of a "
        "block. An empty VALUE is none: what params.yaml says.",
        allow_abbrev=False,
    )
    stages = [name for name in Params.model_fields if name != "data"]
    parser.add_argument("stage", choices=[ALL, *stages], metavar="STAGE", help="or main, for all")
    arguments, given = parser.parse_known_args()
    stage = arguments.stage
    try:
        values = knobs(load_params(PARAMS), stage, given)
    except InputError as error:
        for line in str(error).splitlines():
            print(f"{stage}: {line}", file=sys.stderr)
        return 1
    command = ["exp", "run"] if values else ["repro"]
    command += [part for key, value in values.items() for part in ("-S", f"{key}={value}")]
    command += [] if stage == ALL else [stage]
    # The environment's own, whose Python this is.
    return subprocess.run([sys.executable, "-m", "dvc", *command], check=False).returncode


def knobs(params: Params, stage: str, given: list[str]) -> dict[str, str]:
    """The values given, by dotted key, as `dvc exp run -S` reads them.

    Raises:
        InputError: one line a problem: no such knob, or a value that it cannot have.
    """
    values: dict[str, Any] = {}
    for option, text in zip(given[::2], given[1::2], strict=True):
        key = option.removeprefix("--")
        if key.split(".")[0] not in Params.model_fields and stage != ALL:
            key = f"{stage}.{key}"
        if text:
            values[key] = _value(text)
    changed(params, values)
    return {key: _quoted(value) for key, value in values.items()}


def _value(text: str) -> Any:
    try:
        return read_value(text)
    except yaml.YAMLError:
        return text  # a regular expression, for one


def _quoted(value: Any) -> str:
    """A value for Hydra, whose grammar has meanings for most of what is no letter or digit."""
    if isinstance(value, str):
        return '"{}"'.format(value.replace('"', r"\""))
    return json.dumps(value)


if __name__ == "__main__":
    sys.exit(main())
