"""`pneumonia behaviour`: make the checks of a model's behaviour, and print what they came to."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pneumonia.errors import InputError

if TYPE_CHECKING:
    from pneumonia.behaviour.checks import Outcome
    from pneumonia.predictor import Predictor

DESCRIPTION = """Check what a model does, on drawn images: what leaves the diagnosis leaves the
answer, an opacity raises the probability, the model works at all. Status 0 if every check holds.

A model of real images may fail them honestly: drawn images are not what it knows."""
TRAINED = ("scratch", "transfer")
CHAMPION = "@champion"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `pneumonia behaviour`."""
    parser.add_argument(
        "--model",
        help="models:/NAME@champion or /VERSION, a folder, or scratch or transfer as they were "
        "trained here; default: the champion of params.yaml",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table there, too")


def run(arguments: argparse.Namespace) -> int:
    """Check, print, write; 1 if a check does not hold, else 0.

    Raises:
        InputError: no such model, or nowhere to write.
    """
    from pneumonia.behaviour.checks import CHECKS, check_model, failed
    from pneumonia.behaviour.images import PATIENTS

    title, predictor = _model(arguments.model)
    size = predictor.graph.size
    # Before the seconds that drawing takes.
    print(f"{title}: {2 * PATIENTS} drawn images of {size} px", flush=True)
    outcomes = check_model(predictor.graph, predictor.point)
    print(table(outcomes))
    if arguments.json:
        _write(arguments.json, title, predictor, outcomes)
    wrong = len(failed(outcomes))
    if wrong:
        next_step = "docs/explanation/tests.md tells what each points to"
        if (arguments.model or CHAMPION).endswith(CHAMPION):
            next_step += "; `make rollback` brings back the champion before this one"
        print(f"behaviour: {wrong} of {len(CHECKS)} checks fail; {next_step}", file=sys.stderr)
        return 1
    print(f"\nall {len(CHECKS)} checks hold")
    return 0


def table(outcomes: list[Outcome]) -> str:
    """The outcomes by kind, a line each."""
    from pneumonia.behaviour.checks import KINDS

    lines = []
    for kind, about in KINDS.items():
        lines += ["", f"{kind}: {about}"]
        lines += [
            f"  {one.name:48}{one.value:6.3f}  {one.sign} {one.bound:<4g}  "
            f"{'holds' if one.holds else 'FAILS'}"
            for one in outcomes
            if one.kind == kind
        ]
    return "\n".join(lines)


def _model(model: str | None) -> tuple[str, Predictor]:
    """What to call a model, and the model."""
    if model in TRAINED:
        from pneumonia.explain.command import trained

        return model, trained(model)
    from pneumonia.scoring.model import champion, fetch_model, load_model

    where = model or champion()
    served = load_model(fetch_model(where), threads=0)
    version = f", version {served.version}" if served.version else ""
    return f"{where}{version}, {served.source}", served.predictor


def _write(file: Path, title: str, predictor: Predictor, outcomes: list[Outcome]) -> None:
    """Write the outcomes as JSON, whole or not at all."""
    from pneumonia.behaviour.images import PATIENTS
    from pneumonia.stage import write_json

    record = {
        "model": title,
        "graph_sha256": predictor.graph.sha256,
        "images": 2 * PATIENTS,
        "size": predictor.graph.size,
        "threshold": predictor.point.threshold,
        "checks": [one.as_record() for one in outcomes],
    }
    writing = file.with_name(f"{file.name}.writing")
    try:
        write_json(writing, record)
        writing.rename(file)
    except OSError as error:
        writing.unlink(missing_ok=True)
        raise InputError(f"--json {file}: {error.strerror}") from None
