"""All benchmarks in one run, side by side with what one would use instead: benchmarks/RESULTS.md.

Each area runs in a process of its own, and its figures are kept in build/bench: one area can be
measured anew, and a run that was stopped loses no more than the area it was in. Needs what
`make repro` leaves: data/prepared, models/ and a champion.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

from benchmarks import table
from benchmarks.rows import Setting

ROOT = Path(__file__).parents[1]
AREAS = (
    "decoding", "batches", "training", "evaluation", "explaining", "serving", "scoring", "repro",
    "startup", "installation", "image",
)  # fmt: skip
TURNS = 5


def main() -> int:
    """Measure what is asked for, and rewrite the table after each area."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"Areas: {', '.join(AREAS)}.",
    )  # fmt: skip
    parser.add_argument("--only", nargs="+", choices=AREAS, metavar="AREA", help="these (all)")
    parser.add_argument("--turns", type=int, default=TURNS, help=f"of each way ({TURNS})")
    parser.add_argument(
        "--resume", action="store_true", help="leave out what was measured at this revision"
    )
    parser.add_argument("--kept", type=Path, default=Path("build/bench"), help="(build/bench)")
    parser.add_argument("--measure", choices=AREAS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.turns < 1:
        parser.error("--turns: should be at least 1")
    if options.measure:
        measure(options.measure, options.turns, options.kept)
        return 0
    _require_repro()
    failed = []
    for name in options.only or AREAS:
        former = table.kept(_file(options.kept, name)) if options.resume else None
        # A "+" says that files were changed, not which.
        if former and former.revision == table.revision(ROOT) and "+" not in former.revision:
            continue
        print(f"bench: {name}", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", "benchmarks", "--measure", name]
        command += ["--turns", str(options.turns), "--kept", str(options.kept)]
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
        write(options.kept)
    if failed:
        print(f"bench: {', '.join(failed)} failed; the table has no new figures", file=sys.stderr)
    print("benchmarks/RESULTS.md")
    return len(failed) > 0


def measure(name: str, turns: int, folder: Path) -> None:
    """Measure one area in this process and keep its figures."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    load, begun = os.getloadavg()[0], time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        rows = import_module(f"benchmarks.areas.{name}").measure(_setting(turns, Path(scratch)))
    minutes = (time.perf_counter() - begun) / 60
    origin = table.revision(ROOT), table.machine(), table.versions()
    table.keep(table.Measured(rows, *origin, load, minutes), _file(folder, name))


def write(folder: Path) -> None:
    """Write benchmarks/RESULTS.md from what is kept."""
    areas = {}
    for name in AREAS:
        told = import_module(f"benchmarks.areas.{name}").__doc__ or ""
        areas[name] = told, table.kept(_file(folder, name))
    (ROOT / "benchmarks/RESULTS.md").write_text(table.text(areas), encoding="utf-8")


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.json"


def _setting(turns: int, scratch: Path) -> Setting:
    from pneumonia.core.config import load_params

    name = load_params(Path("params.yaml")).evaluate.registered_model
    better = json.loads(Path("reports/evaluate/operating_point.json").read_text())["better"]
    model = f"models:/{name}@champion"
    return Setting(turns, Path("data/prepared"), Path("models") / better, model, scratch)


def _require_repro() -> None:
    """End with one line where something is missing that the pipeline writes."""
    for file in ("data/prepared/manifest.csv", "reports/evaluate/operating_point.json"):
        if not Path(file).is_file():
            sys.exit(f"bench: {file}: no such file; `make repro` first")
    from pneumonia.core.errors import InputError
    from pneumonia.inference.bundle import fetch_model

    with tempfile.TemporaryDirectory() as scratch:
        try:
            fetch_model(_setting(1, Path(scratch)).model)
        except InputError as error:
            sys.exit(f"bench: {error}; `make repro` first")


if __name__ == "__main__":
    sys.exit(main())
