"""The page of `visualize`."""

from __future__ import annotations

from pathlib import Path

from pneumonia.data.audit import Audit
from pneumonia.data.manifest import SPLITS, SUBTYPES
from pneumonia.reporting.page import Figure, Section, Table, write_page


def write_data_page(folder: Path, found: Audit) -> None:
    """Write `index.html` from an audit without leaks and the figures already in `folder`."""
    kinds = [kind for kind in SUBTYPES if any(kind in row for row in found.counts.values())]
    rows = [
        [split, *(f"{found.counts.get(split, {}).get(kind, 0):,}" for kind in kinds)]
        for split in SPLITS
    ]
    checks = [
        ["films", f"{found.films:,}"],
        ["patients", f"{found.patients:,}"],
        ["patients in more than one split", "0"],
        ["identical films in more than one split", "0"],
        ["redundant copies of a film", f"{found.copies:,}"],
        ["groups of copies with both labels", f"{len(found.label_conflicts):,}"],
        ["patients, read without the series", f"{found.patients_naive:,}"],
        ["of these seemingly in test and outside", f"{found.patients_naive_shared:,}"],
    ]
    naive = (
        "File names of the Kermany set number patients within a series: person12_bacteria and "
        "person12_virus are two children. Reading only the number, as published studies did, "
        "merges them, and finds leaks that are none."
    )
    sections = [
        Section("Films", figures=[Figure(folder / "films.png", "films of each subtype, in rows")]),
        Section(
            "Balance",
            table=Table(["split", *kinds], rows),
            figures=[Figure(folder / "balance.png", "films and patients by split and subtype")],
        ),
        Section("Audit", [naive], Table(["finding", "count"], checks)),
        Section(
            "What the source files give away",
            ["A model that sees a class in the shape or size of the files learns no anatomy."],
            figures=[
                Figure(
                    folder / "source.png",
                    "aspect ratio and file size by subtype",
                    "Boxes hold half of the files, whiskers 95 %.",
                )
            ],
        ),
        Section(
            "Grey values",
            figures=[Figure(folder / "intensities.png", "histograms and mean films by class")],
        ),
    ]
    lead = "The prepared films as the models see them, and the audit that lets training begin."
    write_page(folder / "index.html", "Data", lead, sections)
