"""Clock, locale, names of files, users."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from functools import partial
from pathlib import Path

from tests.conftest import kermany
from tests.faults.bench import STAGES, Bench, Fault, Outcome, SkippedError, environment, files, need

YEAR = 365 * 24 * 3600
POSIX = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def clock(bench: Bench) -> Outcome:
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    if library is None:
        raise SkippedError("no faketime: apt-get install faketime")
    bench.begin(*STAGES[1:])
    told = bench.folder / "clock"
    given = {"LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(told),
             "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}  # fmt: skip
    told.write_text("+0")
    running = subprocess.Popen(
        ["dvc", "repro"], cwd=bench.work, env=environment(**given), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    jumps = (-YEAR, YEAR, -3600, 0)
    while running.poll() is None:
        # Another time each few seconds, again and again.
        told.write_text(f"{jumps[int(time.monotonic() / 5) % len(jumps)]:+d}")
        time.sleep(0.5)
    output = running.communicate()[0]
    need(running.returncode == 0, f"it failed:\n{output[-3000:]}")
    return Outcome("nothing", bench.heals(()))


def locale(bench: Bench) -> Outcome:
    bench.begin(*STAGES)
    return Outcome("nothing", bench.heals(STAGES, **POSIX))


def umask(mask: int, bench: Bench) -> Outcome:
    stages = ("prepare", "train_scratch", "evaluate")
    bench.begin(*stages)
    before = os.umask(mask)
    try:
        after = bench.heals(stages)
    finally:
        os.umask(before)
    return Outcome("nothing", after)


def reader(bench: Bench) -> Outcome:
    if os.geteuid() != 0:
        raise SkippedError("giving files to another user needs root")
    bench.begin()
    for path in (bench.work, *bench.work.rglob("*")):
        os.chown(path, 65534, 65534, follow_symlinks=False)
    image = next((bench.work / "data/prepared/images").iterdir())
    explain = ("python", "-m", "pneumonia", "explain", str(image), "--output")
    out = bench.folder / "maps"
    out.mkdir(exist_ok=True)
    ran = bench.run(*explain, str(out), user=True, PYTHONPATH="src")
    need(ran.returncode == 0, ran.stdout + ran.stderr)
    line = bench.fails(
        "python", "stages/visualize.py", user=True, PYTHONPATH="src",
        says="^visualize: permission denied at reports/visualize.*: give this user",
    )  # fmt: skip
    for path in (bench.work, *bench.work.rglob("*")):
        os.chown(path, 0, 0, follow_symlinks=False)
    return Outcome(line, bench.heals(()))


ODD = (
    "two words.jpeg", "Thorax-Rö №7.jpeg", "胸部.jpeg", "-rf.jpeg", "a,b;\"c\".jpeg", "'q'.jpeg",
    "%d$(id).jpeg", "<b>&amp;.jpeg", "l" * 250 + ".jpeg",
)  # fmt: skip


def written(bench: Bench, source: str, more: dict[bytes, bytes]) -> None:
    """Images with odd names in data/raw, for a source, in the params as well."""
    bench.begin(fresh=True)
    raw = bench.work / "data/raw"
    names = [f"train/PNEUMONIA/person{number + 10}_virus_1.jpeg" for number in range(30)]
    names += [f"train/NORMAL/IM-{number:04}-0001.jpeg" for number in range(200, 230)]
    images = kermany([*names, *(f"train/NORMAL/{name}" for name in ODD)])
    for name, content in images.items():
        (raw / name).parent.mkdir(parents=True, exist_ok=True)
        (raw / name).write_bytes(content)
    for odd, content in more.items():
        Path(os.fsdecode(os.fsencode(raw / "train/NORMAL") + b"/" + odd)).write_bytes(content)
    if source == "table":
        rows = [f'"{name.replace(chr(34), chr(34) * 2)}",{name.split("/")[1]}' for name in images]
        (raw / "labels.csv").write_text("\n".join(["file,label", *rows]) + "\n", encoding="utf-8")
    bench.clone.set_param("source", source)


def names(source: str, bench: Bench) -> Outcome:
    lines = []
    if source == "folder":
        for odd, says in ((b"a\nb.jpeg", "a line break in the name"),
                          (b"\xff.jpeg", "the name is not UTF-8")):  # fmt: skip
            written(bench, source, {odd: b"no image"})
            # DVC itself cannot hash a name that is no UTF-8, and says so before the stage can.
            bench.fails("dvc", "repro", "prepare", says="failed to reproduce 'prepare'")
            stage = ("python", "stages/prepare.py")
            lines.append(bench.fails(*stage, PYTHONPATH="src", says=f"^prepare: .*{says}"))
    kept = []
    for given in ({}, {"LC_ALL": "C"}):
        written(bench, source, {})
        ran = bench.run("dvc", "repro", "visualize", **given)
        need(ran.returncode == 0, f"it failed:\n{(ran.stdout + ran.stderr)[-3000:]}")
        text = (bench.work / "data/prepared/manifest.csv").read_text(encoding="utf-8")
        missing = [name for name in ODD if name.replace('"', '""') not in text]
        need(not missing, f"not in the manifest: {missing}")
        kept.append(files(bench.work / "data/prepared") | files(bench.work / "reports"))
    need(kept[0] == kept[1], "other bytes under LC_ALL=C")
    said = "; ".join(lines) if lines else "nothing"
    return Outcome(said, "runs prepare, visualize, the same bytes under LC_ALL=C")


def leftovers(bench: Bench) -> Outcome:
    bench.begin("evaluate")
    for folder in ("reports/evaluate.writing", "reports/evaluate.former.writing"):
        shutil.copytree(bench.work / "reports/visualize", bench.work / folder)
    return Outcome("nothing", bench.heals(("evaluate",)))


FAULTS = [
    Fault("leftovers", "half-written folders of a stage that was killed", leftovers),
    Fault("clock", "time jumps back and forth by a year all the while", clock),
    Fault("locale", "LC_ALL=C, with Python's ways out of it switched off", locale),
    Fault("names: folder", "blanks, other scripts, quotes, dashes, 255 bytes in names of images; "
          "a line break; bytes that are no UTF-8", partial(names, "folder")),
    Fault("names: table", "the same names in labels.csv", partial(names, "table")),
    Fault("umask 077", "files that no one else may read", partial(umask, 0o077)),
    Fault("umask 000", "files that everyone may write", partial(umask, 0o000)),
    Fault("another user", "a second user reads, and tries to write", reader),
]  # fmt: skip
