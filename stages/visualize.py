"""Describe the prepared data, and stop the pipeline if there are leaks between splits.

Reads the blocks `visualize` and `augment` of params.yaml; writes reports/visualize.
"""

from dataclasses import asdict
from pathlib import Path

from pneumonia.core.config import Params
from pneumonia.core.errors import InputError
from pneumonia.core.files import replaced, write_json
from pneumonia.core.stage import run

DATA = Path("data/prepared")


def main(params: Params) -> None:
    """Write leaks.json, audit.json, figures, tables and index.html into reports/visualize.

    Raises:
        InputError: there are leaks between splits; the message has one line for each leak.
    """
    from pneumonia.audit.leaks import audit
    from pneumonia.datasets.manifest import (
        digest,
        quarantine_summary,
        read_manifest,
        read_quarantine,
    )

    table = read_manifest(DATA)
    quarantined = read_quarantine(DATA)
    findings = audit(table, DATA)
    leaks = findings.leaks
    if leaks:
        raise InputError("\n".join([*leaks, f"{len(leaks)} leaks between splits: training stops"]))
    import pandas as pd

    from pneumonia.audit.duplicates import closest_pairs, near_duplicates, pixel_groups
    from pneumonia.audit.shortcuts import run_probes
    from pneumonia.audit.survey import survey
    from pneumonia.reports import data_page, style
    from pneumonia.reports.data_page import write_data_page

    block = params.visualize
    measures = survey(table, DATA)
    groups = pixel_groups(table, DATA).to_numpy()
    pairs = closest_pairs(measures.hashes, groups, block.near_duplicate_distance, data_page.PAIRS)
    near = near_duplicates(table, pairs, block.near_duplicate_distance)
    probes = run_probes(table, measures, block.bootstrap, block.seed)
    positions = data_page.embed(measures.thumbnails)
    greys = data_page.grey_table(table, measures.histograms)

    style.apply()
    figures = {
        "images": data_page.sample_grid(table, DATA, block.images_per_class),
        "means": data_page.mean_images(measures.means),
        "near_duplicates": data_page.closest(table, DATA, pairs, block.near_duplicate_distance),
        "augmentation": data_page.augmentation(table, DATA, params.augment, block.seed),
        "balance_images": data_page.balance(table, "images"),
        "balance_patients": data_page.balance(
            table.drop_duplicates(["patient_id", "split", "subtype"]), "patients"
        ),
        "source": data_page.source_files(table),
        "grey_values": data_page.grey_values(greys),
        "probes": data_page.probe_bars(probes),
        "embedding_class": data_page.embedding(*positions, data_page.class_names(table), "class"),
        "embedding_split": data_page.embedding(*positions, table["split"], "split"),
    }
    tables = {
        "grey_values": greys,
        "probes": pd.DataFrame(
            [{"probe": name, **asdict(probe)} for name, probe in probes.items()]
        ),
        **data_page.source_tables(table),
    }
    with replaced(Path("reports/visualize")) as folder:
        for name, figure in figures.items():
            style.save(figure, folder / f"{name}.png")
        for name, rows in tables.items():
            rows.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n")
        # The trainings depend on this file and not on the figures. So changed figures do not start
        # a new training.
        write_json(folder / "leaks.json", {"data_digest": digest(DATA), "leaks": leaks})
        write_json(
            folder / "audit.json",
            {
                **asdict(findings),
                "quarantine": quarantine_summary(quarantined),
                "near_duplicates": asdict(near),
                "probes": {name: asdict(probe) for name, probe in probes.items()},
            },
        )
        write_data_page(folder, findings, near, probes, quarantined)
    print(
        f"visualize: {findings.images} images, no leak between splits; reports/visualize/index.html"
    )


if __name__ == "__main__":
    run("visualize", __doc__, main)
