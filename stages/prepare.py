"""Turn the images of a source into grey squares and a manifest, split by patient.

Reads the blocks `data`, `prepare` and `engine` of params.yaml; writes data/prepared.
"""

from collections import Counter
from pathlib import Path

from pneumonia.core.config import Params
from pneumonia.core.files import replaced
from pneumonia.core.stage import run


def main(params: Params) -> None:
    """Write the folder data/prepared with manifest.csv, images/, masks/ and quarantine.csv."""
    from pneumonia.datasets.prepare import prepare
    from pneumonia.datasets.sources import open_source

    images = open_source(params.data)
    with replaced(Path("data/prepared")) as folder:
        prepared = prepare(images, params.prepare, folder, params.engine)
    counts = Counter(row.split for row in prepared.rows)
    patients = len({row.patient_id for row in prepared.rows})
    line = f"{len(prepared.rows)} images of {patients} patients: {dict(sorted(counts.items()))}"
    if prepared.quarantined:
        line += f"; {len(prepared.quarantined)} quarantined, see data/prepared/quarantine.csv"
    print(f"prepare: {line}")


if __name__ == "__main__":
    run("prepare", __doc__, main)
