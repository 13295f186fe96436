"""The command `pneumonia behaviour`: check the behaviour of a model on drawn images."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pneumonia.core.errors import InputError

if TYPE_CHECKING:
    from pneumonia.evaluation.behaviour import CheckOutcome
    from pneumonia.inference.predictor import Predictor

DESCRIPTION = """Check how a model behaves, on drawn images: changes that do not matter for the
diagnosis keep the prediction, an opacity raises the probability, and the model
works at all. The exit status is 0 if every check holds.

A sound model of real images may fail: drawn images are unknown to it."""
CHAMPION = "@champion"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `pneumonia behaviour`."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the table there")


def run(arguments: argparse.Namespace) -> int:
    """Run the checks, print and write the outcomes; return 1 if a check fails, else 0.

    Raises:
        InputError: the model does not exist, or the file cannot be written.
    """
    from pneumonia.evaluation.behaviour import KINDS, PATIENTS, check_model
    from pneumonia.inference.bundle import champion, load_model

    where = arguments.model or champion()
    model = load_model(where)
    version = f", version {model.version}" if model.version else ""
    title = f"{where}{version}, {model.source}"
    predictor = model.predictor
    # Check this before the images are drawn, because drawing takes seconds.
    print(f"{title}: {2 * PATIENTS} drawn images of {predictor.graph.size} px", flush=True)
    outcomes = check_model(predictor.graph, predictor.point)
    for kind, about in KINDS.items():
        print(f"\n{kind}: {about}")
        for outcome in outcomes:
            check, verdict = outcome.check, "holds" if outcome.holds else "FAILS"
            if check.kind == kind:
                value = f"{outcome.value:6.3f}  {check.sign} {check.bound:<4g}"
                print(f"  {check.name:48}{value}  {verdict}")
    if arguments.json:
        _write(arguments.json, title, predictor, outcomes)
    failing = sum(not outcome.holds for outcome in outcomes)
    if not failing:
        print(f"\nall {len(outcomes)} checks hold")
        return 0
    next_step = "docs/explanation/tests.md explains what each failure points to"
    if where.endswith(CHAMPION):
        next_step += "; `make rollback` makes the previous champion champion again"
    print(f"behaviour: {failing} of {len(outcomes)} checks fail; {next_step}", file=sys.stderr)
    return 1


def _write(file: Path, title: str, predictor: Predictor, outcomes: list[CheckOutcome]) -> None:
    """Write the outcomes to a JSON file, atomically."""
    from pneumonia.core.files import write_json
    from pneumonia.evaluation.behaviour import PATIENTS

    record = {
        "model": title,
        "graph_sha256": predictor.graph.sha256,
        "images": 2 * PATIENTS,
        "size": predictor.graph.size,
        "threshold": predictor.point.threshold,
        "checks": [outcome.as_record() for outcome in outcomes],
    }
    writing = file.with_name(f"{file.name}.writing")
    try:
        write_json(writing, record)
        writing.rename(file)
    except OSError as error:
        writing.unlink(missing_ok=True)
        raise InputError(f"--json {file}: {error.strerror}") from None
