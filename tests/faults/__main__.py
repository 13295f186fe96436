"""Inject faults into real runs of a tiny pipeline, and print what happened."""

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

from tests.faults import damage, disk, kills, stores, surroundings
from tests.faults import workspace as workspace_module
from tests.faults.workspace import Fault, SkippedError, Workspace, tree_hash
from tests.pipeline import clone
from tests.pipeline.imports import ROOT

FAULTS: list[Fault] = [
    *disk.FAULTS, *stores.FAULTS, *damage.FAULTS, *surroundings.FAULTS, *kills.FAULTS,
]  # fmt: skip
FOLDER = ROOT / "build/faults"


def key(fault: Fault, tree: str) -> str:
    """A hash of a fault's definition and of the tree of the pipeline."""
    function = fault.inject
    code = function.func if isinstance(function, partial) else function
    arguments = function.args if isinstance(function, partial) else ()
    modules = (inspect.getmodule(code), workspace_module, clone)
    source = "".join(inspect.getsource(module) for module in modules if module)
    return hashlib.sha256(f"{tree}{fault.name}{arguments}{source}".encode()).hexdigest()


def chosen(pattern: str) -> list[Fault]:
    """The faults whose name contains the pattern, where `*` stands for any text."""
    wanted = f"*{pattern.lower()}*"
    return [fault for fault in FAULTS if fnmatch.fnmatch(fault.name.lower(), wanted)]


def inject(fault: Fault, workspace: Workspace) -> dict[str, Any]:
    """Inject a fault; return the result as it is stored."""
    started = time.monotonic()
    result: dict[str, Any] = {
        "description": fault.description, "message": "", "recovery": "", "result": "held",
    }  # fmt: skip
    try:
        outcome = fault.inject(workspace)
        result |= {"message": outcome.message, "recovery": outcome.recovery}
    except SkippedError as reason:
        result |= {"result": "skipped", "message": str(reason)}
    except AssertionError as failure:
        result |= {"result": "failed", "message": str(failure)}
    except Exception:
        result |= {"result": "failed", "message": traceback.format_exc()}
    return result | {"seconds": round(time.monotonic() - started)}


def main() -> int:
    """Inject the chosen faults; return 1 if one of them did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--only", default="", help="part of a fault's name; * stands for any text")
    parser.add_argument("--list", action="store_true", help="list the faults and inject none")
    parser.add_argument(
        "--again", action="store_true", help="inject also the faults whose result is known"
    )
    arguments = parser.parse_args()
    faults = chosen(arguments.only)
    if arguments.list or not faults:
        print("\n".join(f"{fault.name}: {fault.description}" for fault in faults or FAULTS))
        return int(not faults)
    file = FOLDER / "results.json"
    results = json.loads(file.read_text()) if file.exists() else {}
    workspace, tree = Workspace(FOLDER), tree_hash()
    print("run without a fault, once for each state of the code", flush=True)
    workspace.make()
    for number, fault in enumerate(faults, start=1):
        known, fault_key = results.get(fault.name, {}), key(fault, tree)
        if arguments.again or known.get("key") != fault_key or known.get("result") != "held":
            results[fault.name] = inject(fault, workspace) | {"key": fault_key}
            write(file, results)
        result = results[fault.name]
        print(f"{number}/{len(faults)} {fault.name}: {result['result']}, {result['seconds']} s")
        if result["result"] == "failed":
            print("    " + result["message"].replace("\n", "\n    "))
        sys.stdout.flush()
    chosen_results = {fault.name: results[fault.name] for fault in faults}
    print(table(chosen_results))
    by_result = {
        kind: [name for name, result in chosen_results.items() if result["result"] == kind]
        for kind in ("skipped", "failed")
    }
    failed = by_result["failed"]
    print(
        f"{len(faults)} faults, {len(by_result['skipped'])} skipped, "
        f"{len(failed)} failed: {', '.join(failed) or '-'}"
    )
    return int(bool(failed))


def write(path: Path, results: dict[str, Any]) -> None:
    """Write the results; a run that is killed leaves the previous file."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    new.rename(path)


def table(results: dict[str, Any]) -> str:
    """The results as a table in Markdown, a row for each fault."""
    rows = ["| fault | message to the user | what `dvc repro` does afterwards | result |",
            "| --- | --- | --- | --- |"]  # fmt: skip
    for name, result in results.items():
        # Paths inside the clone only; of a failure the first line only.
        message = result["message"].replace(f"{FOLDER / 'work'}/", "").partition("\n")[0]
        cells = (f"{name}: {result['description']}", message, result["recovery"], result["result"])
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
