"""The files of `evaluate`, but for the pictures and the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from pneumonia.errors import InputError
from pneumonia.evaluation import evaluate
from pneumonia.evaluation.comparison import Comparison, contenders
from pneumonia.stage import write_json


def read_audit(path: Path) -> dict[str, Any]:
    """What the audit, audit.json of `visualize`, says that models are held against.

    Returns:
        `probes`: by name, auc, low, high; `near_duplicates`: set of the images' files that it lists.

    Raises:
        InputError: there is none.
    """
    try:
        audit = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; `dvc repro visualize` writes it") from None
    listed = audit["near_duplicates"]["listed"]
    return {
        "probes": audit["probes"],
        "near_duplicates": {file for pair in listed for file in pair["files"]},
    }


def write_files(
    folder: Path,
    evaluations: dict[str, evaluate.Evaluation],
    shifts: pd.DataFrame,
    comparisons: dict[str, Comparison],
    probes: dict[str, dict[str, float]],
) -> None:
    """Write tables and metrics.

    Args:
        folder: where to.
        evaluations: by model.
        shifts: from `robustness.measure`.
        comparisons: by split, from `evaluate.compare`.
        probes: from `read_audit`.
    """
    aucs = {name: found.intervals["test"]["auc"] for name, found in evaluations.items()}
    tables = {
        "predictions": _stacked({name: found.predictions for name, found in evaluations.items()}),
        "robustness": shifts,
        "intervals": evaluate.as_table(evaluations),
        "contenders": contenders(comparisons["test"], aucs, probes),
        "subgroups": _stacked({name: found.subgroups for name, found in evaluations.items()}),
        "errors": _stacked({name: found.errors for name, found in evaluations.items()}),
        "confident_errors": _stacked(
            {name: found.confident_errors for name, found in evaluations.items()}
        ),
    }
    (folder / "curves").mkdir()
    for name, found in evaluations.items():
        tables |= {f"curves/{curve}_{name}": table for curve, table in found.curves.items()}
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n")
    write_json(folder / "metrics.json", evaluate.as_metrics(evaluations, shifts))
    write_json(
        folder / "comparison.json", {split: one.as_dict() for split, one in comparisons.items()}
    )


def _stacked(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Under each other, with a column model in front where it is missing."""
    return pd.concat(
        [
            table if "model" in table else table.assign(model=name)[["model", *table.columns]]
            for name, table in tables.items()
        ],
        ignore_index=True,
    )
