"""Compare the speed with common alternatives and write benchmarks/RESULTS.md.

Each area is measured in its own process and stored in build/bench. So one area can be measured
again, and a run that is stopped loses only the area that it was measuring. Needs the outputs of
`make repro`: data/prepared, models/ and a champion.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

from benchmarks import table
from benchmarks.measurement import Setting

ROOT = Path(__file__).parents[1]
AREAS = (
    "decoding", "batches", "training", "evaluation", "explaining", "serving", "scoring", "repro",
    "startup", "installation", "image",
)  # fmt: skip
TURNS = 5


def main() -> int:
    """Measure the chosen areas and rewrite the page after each of them."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"Areas: {', '.join(AREAS)}.",
    )  # fmt: skip
    parser.add_argument(
        "--only", nargs="+", choices=AREAS, metavar="AREA", help="areas to measure (all)"
    )
    parser.add_argument(
        "--turns", type=int, default=TURNS, help=f"how often to measure each ({TURNS})"
    )
    parser.add_argument(
        "--resume", action="store_true", help="skip areas that were measured at this revision"
    )
    parser.add_argument(
        "--store", type=Path, default=Path("build/bench"),
        help="folder for measurements (build/bench)",
    )  # fmt: skip
    parser.add_argument("--measure", choices=AREAS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.turns < 1:
        parser.error("--turns: should be at least 1")
    if options.measure:
        measure(options.measure, options.turns, options.store)
        return 0
    _require_repro()
    failed = []
    for name in options.only or AREAS:
        previous = table.stored(_file(options.store, name)) if options.resume else None
        # With "+" files were changed, and it is not known which.
        if previous and previous.revision == table.revision(ROOT) and "+" not in previous.revision:
            continue
        print(f"bench: {name}", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", "benchmarks", "--measure", name]
        command += ["--turns", str(options.turns), "--store", str(options.store)]
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
        write(options.store)
    if failed:
        print(
            f"bench: {', '.join(failed)} failed; the page has no new values of them",
            file=sys.stderr,
        )
    print("benchmarks/RESULTS.md")
    return len(failed) > 0


def measure(name: str, turns: int, folder: Path) -> None:
    """Measure one area in this process and store the result."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    load, started = os.getloadavg()[0], time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        rows = import_module(f"benchmarks.areas.{name}").measure(_setting(turns, Path(scratch)))
    minutes = (time.perf_counter() - started) / 60
    origin = table.revision(ROOT), table.machine(), table.versions()
    table.store(table.Measured(rows, *origin, load, minutes), _file(folder, name))


def write(folder: Path) -> None:
    """Write benchmarks/RESULTS.md from the stored measurements."""
    areas = {}
    for name in AREAS:
        docstring = import_module(f"benchmarks.areas.{name}").__doc__ or ""
        areas[name] = docstring, table.stored(_file(folder, name))
    (ROOT / "benchmarks/RESULTS.md").write_text(table.text(areas), encoding="utf-8")


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.json"


def _setting(turns: int, scratch: Path) -> Setting:
    from pneumonia.inference.bundle import champion
    from pneumonia.inference.operating_point import OperatingPoints

    better = OperatingPoints.read(Path("reports/evaluate/operating_point.json")).better
    return Setting(turns, Path("data/prepared"), Path("models") / better, champion(), scratch)


def _require_repro() -> None:
    """Exit with one line if an output of the pipeline is missing."""
    for file in ("data/prepared/manifest.csv", "reports/evaluate/operating_point.json"):
        if not Path(file).is_file():
            sys.exit(f"bench: {file}: no such file; run `make repro` first")
    from pneumonia.core.errors import InputError
    from pneumonia.inference.bundle import fetch_model

    with tempfile.TemporaryDirectory() as scratch:
        try:
            fetch_model(_setting(1, Path(scratch)).model)
        except InputError as error:
            sys.exit(f"bench: {error}; run `make repro` first")


if __name__ == "__main__":
    sys.exit(main())
