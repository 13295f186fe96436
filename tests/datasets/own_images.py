"""A folder as a hospital may deliver it: a study a patient, and names in the DICOM headers.

Half of the images are DICOM files, in folders by day of the study and named by their UID; the
others are PNG files. All are phantoms. To follow docs/how-to/own-images.md by hand, run
PYTHONPATH=src python -m tests.datasets.own_images data/raw/clinic
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np

from pneumonia.datasets import phantom
from pneumonia.images.decoding import encode_png
from tests.images.dicom_files import dicom_bytes

# What must not be found in anything that the pipeline writes.
SECRETS = ("Miller", "19580312", "MRN-4711", "St. Elsewhere")


def make_clinic(root: Path, images: int = 60, seed: int = 11) -> Path:
    """Draw images into a folder, with labels.csv; gives the folder."""
    rows = []
    for index in range(images):
        patient = phantom.patient_of(index)
        sick = phantom.diagnosis_of(seed, patient).subtype != "normal"
        pixels = phantom.draw(seed, index).pixels
        if index % 2:
            name = f"png/image-{index:04}.png"
            payload = encode_png(pixels)
        else:
            uid = f"1.2.826.0.1.3680043.8.498.{index + 1}"
            name = f"dicom/2026-03-{1 + patient % 28:02}/{uid}"
            payload = dicom_bytes(
                pixels.astype(np.uint16) * 16, BitsStored=12, SOPInstanceUID=uid,
                PatientName="Miller^Ann", PatientID="MRN-4711", PatientBirthDate="19580312",
                InstitutionName="St. Elsewhere", WindowCenter=2040, WindowWidth=4080,
            )  # fmt: skip
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(payload)
        rows.append((name, "PNEUMONIA" if sick else "NORMAL", f"P{patient:04}"))
    with (root / "labels.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("file", "label", "patient_id"), *rows])
    return root


if __name__ == "__main__":
    make_clinic(Path(sys.argv[1]), *map(int, sys.argv[2:3]))
