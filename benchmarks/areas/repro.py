"""A run of the pipeline with nothing to do.

All six stages are up to date; `make repro` ends with the table of metrics. Both are held against
`dvc repro` in a repository with one stage that depends on one file.
"""

from __future__ import annotations

import subprocess
from functools import partial
from pathlib import Path

from benchmarks.rows import Row, Setting, seconds, take_turns

ONE_STAGE = "stages:\n  copy:\n    cmd: cp a b\n    deps: [a]\n    outs: [b]\n"


def measure(setting: Setting) -> list[Row]:
    """Seconds of each."""
    if "up to date" not in _run(["dvc", "status"], Path()):
        raise SystemExit("bench: not everything is up to date; `make repro` first")
    bare = setting.scratch / "bare"
    bare.mkdir()
    _run(["git", "init", "--quiet"], bare)
    _run(["dvc", "init", "--quiet"], bare)
    (bare / "dvc.yaml").write_text(ONE_STAGE)
    (bare / "a").write_text("a\n")
    _run(["dvc", "repro", "--quiet"], bare)
    commands = {"dvc": (["dvc", "repro"], Path()), "make": (["make", "repro"], Path()),
                "bare": (["dvc", "repro"], bare)}  # fmt: skip
    found = take_turns(
        {name: partial(seconds, partial(_run, *one)) for name, one in commands.items()},
        setting.turns,
    )
    rival = "`dvc repro`, one small stage"
    return [
        Row("`dvc repro`", "s", found["dvc"], rival, found["bare"]),
        Row("`make repro`", "s", found["make"], rival, found["bare"]),
    ]


def _run(command: list[str], folder: Path) -> str:
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise SystemExit(f"bench: {' '.join(command)}: {ran.stderr.strip()}")
    return ran.stdout
