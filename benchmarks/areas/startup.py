"""Start-up.

The table gives the seconds until a command has printed its help, and until a stage first opens a
file of the data, the models or the reports. Then the stage is stopped. For a training, it also
gives the seconds until the training opens its checkpoint; TensorFlow is loaded by then. The limit
is `python -c pass`. The goal for a help text is half a second.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from functools import partial
from pathlib import Path

import yaml

from benchmarks.measurement import Row, Setting, seconds, take_turns

GOAL = 0.5  # seconds, for a help text
TOUCHED = ("data/", "models/", "reports/")
# Stops a program just before it opens, lists, creates or removes something in certain folders.
# Audit events are raised before the operation, so nothing is changed.
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
    from pneumonia.cli import VERBS

    stages = list(yaml.safe_load(Path("dvc.yaml").read_text())["stages"])
    python = [sys.executable]
    helps = {"pneumonia": [*python, "-m", "pneumonia"]}
    helps |= {f"pneumonia {name}": [*python, "-m", "pneumonia", name] for name in VERBS}
    helps |= {f"stages/{name}.py": [*python, f"stages/{name}.py"] for name in stages}
    commands = {f"`{name} --help`": ([*line, "--help"], 0) for name, line in helps.items()}
    for name in stages:
        stopped = [*python, "-c", STOP, f"stages/{name}.py"]
        commands[f"{name}, to its first file"] = [*stopped, "", *TOUCHED], STOPPED
        if name.startswith("train_"):
            commands[f"{name}, to its checkpoint"] = [*stopped, ".checkpoint", "models/"], STOPPED
    commands["bare"] = [*python, "-c", "pass"], 0
    values = take_turns(
        {name: partial(seconds, partial(_run, *call)) for name, call in commands.items()},
        setting.turns,
    )
    bare = values.pop("bare")
    return [
        Row(name, "s", spent, limit="`python -c pass`", bound=bare, note=_note(name, spent))
        for name, spent in values.items()
    ]


def _note(name: str, spent: list[float]) -> str:
    over = name.endswith("--help`") and statistics.median(spent) > GOAL
    return f"over {GOAL} s" if over else ""


def _run(command: list[str], status: int) -> None:
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode != status:
        raise SystemExit(f"bench: {command} ended with {ran.returncode}: {ran.stderr.strip()}")
