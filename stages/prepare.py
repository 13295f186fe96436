"""Turn a source's films into grey squares and a manifest, split by patient.

Reads the blocks `data` and `prepare` of params.yaml; writes data/prepared.
"""

from collections import Counter
from pathlib import Path

from pneumonia.data.prepare import prepare
from pneumonia.data.sources import open_source
from pneumonia.params import Params
from pneumonia.stage import replaced, run


def main(params: Params) -> None:
    """Write data/prepared: manifest.csv, images/, masks/."""
    films = open_source(params.data)
    with replaced(Path("data/prepared")) as folder:
        rows = prepare(films, params.prepare, folder)
    counts = Counter(row.split for row in rows)
    patients = len({row.patient_id for row in rows})
    print(f"prepare: {len(rows)} films of {patients} patients: {dict(sorted(counts.items()))}")


if __name__ == "__main__":
    run("prepare", __doc__, main)
