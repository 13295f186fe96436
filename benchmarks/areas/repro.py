"""A run of the pipeline with nothing to do.

All seven stages are up to date; `make repro` also prints a table of metrics. The alternative is
`dvc repro` in a repository with one stage that depends on one file.

Version 0.1.0 listed single files as dependencies and outputs, 1,660 lines of dvc.lock; version
0.2.0 lists folders, 517 lines. On one machine (2 cores of an AMD EPYC, 11 turns side by side, drawn
images, params as shipped) `dvc repro` with nothing to do took 0.936 s [0.919, 0.948] before and
0.733 s [0.723, 0.813] after: 1.28 times as fast [1.16, 1.29].
"""

from __future__ import annotations

import subprocess
from functools import partial
from pathlib import Path

from benchmarks.measurement import Row, Setting, seconds, take_turns

ONE_STAGE = "stages:\n  copy:\n    cmd: cp a b\n    deps: [a]\n    outs: [b]\n"


def measure(setting: Setting) -> list[Row]:
    """Seconds."""
    if "up to date" not in _run(["dvc", "status"], Path()):
        raise SystemExit("bench: not all stages are up to date; run `make repro` first")
    bare = setting.scratch / "bare"
    bare.mkdir()
    _run(["git", "init", "--quiet"], bare)
    _run(["dvc", "init", "--quiet"], bare)
    (bare / "dvc.yaml").write_text(ONE_STAGE)
    (bare / "a").write_text("a\n")
    _run(["dvc", "repro", "--quiet"], bare)
    commands = {"dvc": (["dvc", "repro"], Path()), "make": (["make", "repro"], Path()),
                "bare": (["dvc", "repro"], bare)}  # fmt: skip
    values = take_turns(
        {name: partial(seconds, partial(_run, *call)) for name, call in commands.items()},
        setting.turns,
    )
    alternative = "`dvc repro`, one small stage"
    return [
        Row("`dvc repro`", "s", values["dvc"], alternative, values["bare"]),
        Row("`make repro`", "s", values["make"], alternative, values["bare"]),
    ]


def _run(command: list[str], folder: Path) -> str:
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise SystemExit(f"bench: {' '.join(command)}: {ran.stderr.strip()}")
    return ran.stdout
