"""Put faults into real runs of a tiny pipeline, and say what became of them."""

from __future__ import annotations

import argparse
import fnmatch
import hashlib
import inspect
import json
import sys
import time
import traceback
from functools import partial
from pathlib import Path
from typing import Any

from tests.faults import bench as bench_module
from tests.faults import damage, disk, kills, stores, surroundings
from tests.faults.bench import Bench, Fault, SkippedError, tree
from tests.pipeline import clone
from tests.pipeline.imports import ROOT

FAULTS: list[Fault] = [
    *disk.FAULTS, *stores.FAULTS, *damage.FAULTS, *surroundings.FAULTS, *kills.FAULTS,
]  # fmt: skip
FOLDER = ROOT / "build/faults"


def key(fault: Fault, of: str) -> str:
    """Names a fault's definition and the tree `of` that it was put into."""
    function = fault.inject
    what = function.func if isinstance(function, partial) else function
    given = function.args if isinstance(function, partial) else ()
    modules = (inspect.getmodule(what), bench_module, clone)
    source = "".join(inspect.getsource(module) for module in modules if module)
    return hashlib.sha256(f"{of}{fault.name}{given}{source}".encode()).hexdigest()


def chosen(pattern: str) -> list[Fault]:
    """Those whose name has the pattern in it, where `*` stands for anything."""
    wanted = f"*{pattern.lower()}*"
    return [fault for fault in FAULTS if fnmatch.fnmatch(fault.name.lower(), wanted)]


def put(fault: Fault, bench: Bench) -> dict[str, Any]:
    """Put a fault; what became of it."""
    started = time.monotonic()
    found: dict[str, Any] = {"does": fault.does, "seen": "", "after": "", "result": "held"}
    try:
        outcome = fault.inject(bench)
        found |= {"seen": outcome.seen, "after": outcome.after}
    except SkippedError as reason:
        found |= {"result": "skipped", "seen": str(reason)}
    except AssertionError as failure:
        found |= {"result": "failed", "seen": str(failure)}
    except Exception:
        found |= {"result": "failed", "seen": traceback.format_exc()}
    return found | {"seconds": round(time.monotonic() - started)}


def main() -> int:
    """Put the faults that were asked for; 1 if one of them did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--only", default="", help="part of a fault's name, * for anything")
    parser.add_argument("--list", action="store_true", help="name the faults and put none")
    parser.add_argument("--again", action="store_true", help="also those whose result is known")
    given = parser.parse_args()
    faults = chosen(given.only)
    if given.list or not faults:
        print("\n".join(f"{fault.name}: {fault.does}" for fault in faults or FAULTS))
        return int(not faults)
    results = FOLDER / "results.json"
    known = json.loads(results.read_text()) if results.exists() else {}
    bench, of = Bench(FOLDER), tree()
    print("the run without a fault, once a tree", flush=True)
    bench.make()
    for number, fault in enumerate(faults, start=1):
        there = known.get(fault.name, {})
        name = key(fault, of)
        if given.again or there.get("key") != name or there.get("result") != "held":
            known[fault.name] = put(fault, bench) | {"key": name}
            write(results, known)
        one = known[fault.name]
        print(f"{number}/{len(faults)} {fault.name}: {one['result']}, {one['seconds']} s")
        if one["result"] == "failed":
            print("    " + one["seen"].replace("\n", "\n    "))
        sys.stdout.flush()
    told = {fault.name: known[fault.name] for fault in faults}
    print(table(told))
    failed = [name for name, one in told.items() if one["result"] == "failed"]
    skipped = sum(one["result"] == "skipped" for one in told.values())
    print(
        f"{len(told)} faults, {skipped} skipped, {len(failed)} failed: {', '.join(failed) or '-'}"
    )
    return int(bool(failed))


def write(path: Path, results: dict[str, Any]) -> None:
    """Replace the file at once."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    new.rename(path)


def table(results: dict[str, Any]) -> str:
    """In Markdown: a row a fault."""
    rows = ["| fault | what a person sees | what `dvc repro` does after | result |",
            "| --- | --- | --- | --- |"]  # fmt: skip
    for name, one in results.items():
        # Of the paths what lies within the clone; a failure's first line.
        seen = one["seen"].replace(f"{FOLDER / 'work'}/", "").partition("\n")[0]
        cells = (f"{name}: {one['does']}", seen, one["after"], one["result"])
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
