"""Show what is in the prepared data, and stop the pipeline where a split leaks into another.

Reads the block `visualize` of params.yaml, and `train_scratch.augment` to show it; writes
reports/visualize.
"""

from dataclasses import asdict
from pathlib import Path

from pneumonia.errors import InputError
from pneumonia.params import Params
from pneumonia.stage import replaced, run, write_json

DATA = Path("data/prepared")


def main(params: Params) -> None:
    """Write reports/visualize: leaks.json, audit.json, the figures, their tables, index.html.

    Raises:
        InputError: the audit found leaks; all of them, one line each.
    """
    from pneumonia.data.audit import audit
    from pneumonia.data.manifest import digest, read_manifest
    from pneumonia.data.quarantine import as_dict, read_quarantine

    table = read_manifest(DATA)
    quarantined = read_quarantine(DATA)
    found = audit(table, DATA)
    if found.leaks:
        raise InputError(
            "\n".join([*found.leaks, f"{len(found.leaks)} leaks between splits: training stops"])
        )
    import pandas as pd

    from pneumonia.data.duplicates import closest_pairs, near_duplicates, pixel_groups
    from pneumonia.data.probes import run_probes
    from pneumonia.data.survey import survey
    from pneumonia.reporting import data_figures, data_pictures, style
    from pneumonia.reporting.data_page import write_data_page

    block = params.visualize
    seen = survey(table, DATA)
    groups = pixel_groups(table, DATA).to_numpy()
    pairs = closest_pairs(seen.hashes, groups, block.near_duplicate_distance, data_pictures.PAIRS)
    near = near_duplicates(table, pairs, block.near_duplicate_distance)
    probes = run_probes(table, seen, block.bootstrap, block.seed)
    on_map = data_figures.embed(seen.thumbnails)
    greys = data_figures.grey_table(table, seen.histograms)

    style.apply()
    figures = {
        "images": data_pictures.sample_grid(table, DATA, block.images_per_class),
        "means": data_pictures.mean_images(seen.means),
        "near_duplicates": data_pictures.closest(table, DATA, pairs, block.near_duplicate_distance),
        "augmentation": data_pictures.augmentation(
            table, DATA, params.train_scratch.augment, block.seed
        ),
        "balance_images": data_figures.balance(table, "images"),
        "balance_patients": data_figures.balance(
            table.drop_duplicates(["patient_id", "split", "subtype"]), "patients"
        ),
        "source": data_figures.source_files(table),
        "grey_values": data_figures.grey_values(greys),
        "probes": data_figures.probe_bars(probes),
        "embedding_class": data_figures.embedding(
            *on_map, data_figures.class_names(table), "class"
        ),
        "embedding_split": data_figures.embedding(*on_map, table["split"], "split"),
    }
    tables = {
        "grey_values": greys,
        "probes": pd.DataFrame(
            [{"probe": name, **asdict(probe)} for name, probe in probes.items()]
        ),
        **data_figures.source_tables(table),
    }
    with replaced(Path("reports/visualize")) as folder:
        for name, figure in figures.items():
            style.save(figure, folder / f"{name}.png")
        for name, rows in tables.items():
            rows.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n")
        # What training waits for: its data, and no leak. Figures may change without training again.
        write_json(folder / "leaks.json", {"data_digest": digest(DATA), "leaks": found.leaks})
        write_json(
            folder / "audit.json",
            {
                **found.as_dict(),
                "quarantine": as_dict(quarantined),
                "near_duplicates": near.as_dict(),
                "probes": {name: asdict(probe) for name, probe in probes.items()},
            },
        )
        write_data_page(folder, found, near, probes, quarantined)
    print(f"visualize: {found.images} images, no leak between splits; reports/visualize/index.html")


if __name__ == "__main__":
    run("visualize", __doc__, main)
