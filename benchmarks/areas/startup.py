"""Start-up.

Seconds by the clock that a command takes to print its help, and that a stage takes until it first
touches the data, its outputs or the reports, where it is stopped; of the trainings also until their
checkpoint, by when TensorFlow is loaded. The limit is `python -c pass`. The aim for a help is half
a second.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from functools import partial
from pathlib import Path

import yaml

from benchmarks.rows import Row, Setting, seconds, take_turns

AIM = 0.5  # s, of a help
TOUCHED = ("data/", "models/", "reports/")
# Stops a program where it opens, lists, makes or removes what lies in certain folders, and leaves
# it untouched: these events come before the deed.
STOP = """
import os, runpy, sys
script, within, *begin = sys.argv[1:]
def hook(event, arguments):
    if event in ("open", "os.mkdir", "os.listdir", "os.scandir", "shutil.rmtree") and arguments:
        path = os.fspath(arguments[0]) if isinstance(arguments[0], (str, os.PathLike)) else ""
        if path.startswith(tuple(begin)) and within in path:
            os._exit(47)
sys.argv = [script]
sys.path[0] = os.path.dirname(os.path.abspath(script))
sys.addaudithook(hook)
runpy.run_path(script, run_name="__main__")
"""
STOPPED = 47


def measure(setting: Setting) -> list[Row]:
    """A row a command, and one or two a stage."""
    from pneumonia.cli import COMMANDS

    stages = list(yaml.safe_load(Path("dvc.yaml").read_text())["stages"])
    python = [sys.executable]
    helps = {"pneumonia": [*python, "-m", "pneumonia"]}
    helps |= {f"pneumonia {name}": [*python, "-m", "pneumonia", name] for name in COMMANDS}
    helps |= {f"stages/{name}.py": [*python, f"stages/{name}.py"] for name in stages}
    commands = {f"`{name} --help`": ([*line, "--help"], 0) for name, line in helps.items()}
    for name in stages:
        stopped = [*python, "-c", STOP, f"stages/{name}.py"]
        commands[f"{name}, to its first file"] = [*stopped, "", *TOUCHED], STOPPED
        if name.startswith("train_"):
            commands[f"{name}, to its checkpoint"] = [*stopped, ".checkpoint", "models/"], STOPPED
    commands["bare"] = [*python, "-c", "pass"], 0
    found = take_turns(
        {name: partial(seconds, partial(_run, *one)) for name, one in commands.items()},
        setting.turns,
    )
    bare = found.pop("bare")
    return [
        Row(name, "s", values, limit="`python -c pass`", bound=bare, note=_note(name, values))
        for name, values in found.items()
    ]


def _note(name: str, values: list[float]) -> str:
    over = name.endswith("--help`") and statistics.median(values) > AIM
    return f"over {AIM} s" if over else ""


def _run(command: list[str], status: int) -> None:
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode != status:
        raise SystemExit(f"bench: {command} ended with {ran.returncode}: {ran.stderr.strip()}")
