"""The clock, the locale, file names, other users."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from functools import partial
from pathlib import Path

from tests.conftest import kermany
from tests.faults.workspace import (
    STAGES,
    Fault,
    Outcome,
    SkippedError,
    Workspace,
    environment,
    files,
    require,
)

YEAR = 365 * 24 * 3600
POSIX = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def clock(workspace: Workspace) -> Outcome:
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    if library is None:
        raise SkippedError("no faketime: apt-get install faketime")
    workspace.reset(*STAGES[1:])
    clock_file = workspace.folder / "clock"
    variables = {"LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(clock_file),
             "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}  # fmt: skip
    clock_file.write_text("+0")
    running = subprocess.Popen(
        ["dvc", "repro"], cwd=workspace.work, env=environment(**variables), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    jumps = (-YEAR, YEAR, -3600, 0)
    while running.poll() is None:
        # The clock jumps every five seconds.
        clock_file.write_text(f"{jumps[int(time.monotonic() / 5) % len(jumps)]:+d}")
        time.sleep(0.5)
    output = running.communicate()[0]
    require(running.returncode == 0, f"it failed:\n{output[-3000:]}")
    return Outcome("nothing", workspace.recovers(()))


def locale(workspace: Workspace) -> Outcome:
    workspace.reset(*STAGES)
    return Outcome("nothing", workspace.recovers(STAGES, **POSIX))


def umask(mask: int, workspace: Workspace) -> Outcome:
    stages = ("prepare", "train_scratch", "evaluate", "register")
    workspace.reset(*stages)
    before = os.umask(mask)
    try:
        recovery = workspace.recovers(stages)
    finally:
        os.umask(before)
    return Outcome("nothing", recovery)


def other_user(workspace: Workspace) -> Outcome:
    if os.geteuid() != 0:
        raise SkippedError("changing the owner of files needs root")
    workspace.reset()
    for path in (workspace.work, *workspace.work.rglob("*")):
        os.chown(path, 65534, 65534, follow_symlinks=False)
    image = next((workspace.work / "data/prepared/images").iterdir())
    explain = ("python", "-m", "pneumonia", "explain", str(image), "--output")
    maps = workspace.folder / "maps"
    maps.mkdir(exist_ok=True)
    ran = workspace.run(*explain, str(maps), user=True, PYTHONPATH="src")
    require(ran.returncode == 0, ran.stdout + ran.stderr)
    line = workspace.fails(
        "python", "stages/visualize.py", user=True, PYTHONPATH="src",
        says="^visualize: permission denied at reports/visualize.*: give this user",
    )  # fmt: skip
    for path in (workspace.work, *workspace.work.rglob("*")):
        os.chown(path, 0, 0, follow_symlinks=False)
    return Outcome(line, workspace.recovers(()))


UNUSUAL = (
    "two words.jpeg", "Thorax-Rö №7.jpeg", "胸部.jpeg", "-rf.jpeg", "a,b;\"c\".jpeg", "'q'.jpeg",
    "%d$(id).jpeg", "<b>&amp;.jpeg", "l" * 250 + ".jpeg",
)  # fmt: skip


def write_images(workspace: Workspace, source: str, more: dict[bytes, bytes]) -> None:
    """Write images with unusual names to data/raw and set the source in the params."""
    workspace.reset(fresh=True)
    raw = workspace.work / "data/raw"
    names = [f"train/PNEUMONIA/person{number + 10}_virus_1.jpeg" for number in range(30)]
    names += [f"train/NORMAL/IM-{number:04}-0001.jpeg" for number in range(200, 230)]
    images = kermany([*names, *(f"train/NORMAL/{name}" for name in UNUSUAL)])
    for name, content in images.items():
        (raw / name).parent.mkdir(parents=True, exist_ok=True)
        (raw / name).write_bytes(content)
    for name_bytes, content in more.items():
        Path(os.fsdecode(os.fsencode(raw / "train/NORMAL") + b"/" + name_bytes)).write_bytes(
            content
        )
    if source == "table":
        rows = [f'"{name.replace(chr(34), chr(34) * 2)}",{name.split("/")[1]}' for name in images]
        (raw / "labels.csv").write_text("\n".join(["file,label", *rows]) + "\n", encoding="utf-8")
    workspace.clone.set_param("source", source)


def names(source: str, workspace: Workspace) -> Outcome:
    lines = []
    if source == "folder":
        for name_bytes, says in ((b"a\nb.jpeg", "a line break in the name"),
                          (b"\xff.jpeg", "the name is not UTF-8")):  # fmt: skip
            write_images(workspace, source, {name_bytes: b"no image"})
            # DVC fails before the stage starts, because it cannot hash a name that is not UTF-8.
            workspace.fails("dvc", "repro", "prepare", says="failed to reproduce 'prepare'")
            stage = ("python", "stages/prepare.py")
            lines.append(workspace.fails(*stage, PYTHONPATH="src", says=f"^prepare: .*{says}"))
    kept = []
    for variables in ({}, {"LC_ALL": "C"}):
        write_images(workspace, source, {})
        ran = workspace.run("dvc", "repro", "visualize", **variables)
        require(ran.returncode == 0, f"it failed:\n{(ran.stdout + ran.stderr)[-3000:]}")
        text = (workspace.work / "data/prepared/manifest.csv").read_text(encoding="utf-8")
        missing = [name for name in UNUSUAL if name.replace('"', '""') not in text]
        require(not missing, f"not in the manifest: {missing}")
        kept.append(files(workspace.work / "data/prepared") | files(workspace.work / "reports"))
    require(kept[0] == kept[1], "LC_ALL=C gives other bytes")
    return Outcome(
        "; ".join(lines) or "nothing", "runs prepare, visualize; LC_ALL=C gives the same bytes"
    )


def leftovers(workspace: Workspace) -> Outcome:
    workspace.reset("evaluate")
    for folder in ("reports/evaluate.writing", "reports/evaluate.former.writing"):
        shutil.copytree(workspace.work / "reports/visualize", workspace.work / folder)
    return Outcome("nothing", workspace.recovers(("evaluate",)))


FAULTS = [
    Fault("leftovers", "partly written folders of a killed stage", leftovers),
    Fault("clock", "the time jumps back and forth by a year, again and again", clock),
    Fault("locale", "LC_ALL=C, and Python's UTF-8 mode is off", locale),
    Fault("names: folder", "image names with spaces, other scripts, quotes, dashes, 255 bytes; "
          "with a line break; with bytes that are not UTF-8", partial(names, "folder")),
    Fault("names: table", "the same names in labels.csv", partial(names, "table")),
    Fault("umask 077", "new files are not readable for others", partial(umask, 0o077)),
    Fault("umask 000", "new files are writable for everyone", partial(umask, 0o000)),
    Fault("another user", "a second user reads, and tries to write", other_user),
]  # fmt: skip
