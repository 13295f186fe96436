"""The audit finds leaks, copies and label conflicts, and nothing else."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pneumonia.audit.leaks import audit, naive_patient
from pneumonia.datasets.manifest import COLUMNS, image_path, read_manifest
from pneumonia.datasets.prepare import prepare
from pneumonia.datasets.sources import open_source
from pneumonia.images.decoding import encode_png
from tests.conftest import folder_params, prepare_params

REAL = os.environ.get("CHEST_XRAY_DIR", "")


def make(folder: Path, *rows: tuple[str, str, str, int, int]) -> pd.DataFrame:
    """A prepared folder of rows (file, patient, split, label, seed of the pixels)."""
    (folder / "images").mkdir(exist_ok=True)
    table = []
    for number, (file, patient, split, label, seed) in enumerate(rows):
        pixels = np.random.default_rng(seed).integers(0, 256, (32, 32), dtype=np.uint8)
        image_path(folder, f"{number:016x}").write_bytes(encode_png(pixels))
        kind = "virus" if label else "normal"
        table.append([f"{number:016x}", file, label, kind, patient, split, 32, 32, "L", 9, ""])
    return pd.DataFrame(table, columns=COLUMNS)


def test_a_drawn_set_has_no_leak_and_is_counted(prepared: Path) -> None:
    table = read_manifest(prepared)
    found = audit(table, prepared)
    assert found.leaks == []
    assert found.label_conflicts == []
    assert found.copies == 0
    assert found.images == 40
    assert found.patients == len(set(table["patient_id"])) == found.patients_naive
    assert found.patients_naive_shared == 0
    counted = {
        (split, kind): count for split, row in found.counts.items() for kind, count in row.items()
    }
    for (split, kind), count in counted.items():
        assert count == ((table["split"] == split) & (table["subtype"] == kind)).sum()
    assert sum(counted.values()) == 40


def test_a_patient_in_two_splits_is_a_leak_named_with_both_files(tmp_path: Path) -> None:
    table = make(
        tmp_path,
        ("a.png", "p1", "train", 0, 1),
        ("b.png", "p1", "test", 0, 2),
        ("c.png", "p2", "train", 1, 3),
        ("d.png", "p2", "train", 1, 4),
    )
    assert audit(table, tmp_path).leaks == ["patient p1 is in test (b.png) and in train (a.png)"]


def test_identical_images_in_two_splits_are_a_leak_named_with_both_files(tmp_path: Path) -> None:
    table = make(
        tmp_path,
        ("a.png", "p1", "train", 0, 1),
        ("b.png", "p2", "val", 0, 1),
        ("c.png", "p3", "train", 1, 3),
    )
    found = audit(table, tmp_path)
    assert found.leaks == ["identical images in train (a.png) and in val (b.png)"]
    assert found.copies == 1
    assert found.label_conflicts == []


def test_copies_within_a_split_are_counted_but_no_leak(tmp_path: Path) -> None:
    rows = [(f"{n}.png", "p1", "train", 0, 1) for n in range(3)]
    found = audit(make(tmp_path, *rows, ("x.png", "p2", "test", 1, 2)), tmp_path)
    assert found.copies == 2
    assert found.leaks == []


def test_identical_images_of_both_labels_are_a_conflict(tmp_path: Path) -> None:
    table = make(
        tmp_path,
        ("z.png", "p1", "train", 0, 1),
        ("a.png", "p2", "train", 1, 1),
        ("b.png", "p3", "train", 1, 2),
        ("c.png", "p4", "train", 1, 2),
    )
    found = audit(table, tmp_path)
    assert found.label_conflicts == [["a.png", "z.png"]]
    assert found.leaks == []


def test_naively_shared_patients_are_no_leak(tmp_path: Path) -> None:
    table = make(
        tmp_path,
        ("a.png", "person12_bacteria", "train", 1, 1),
        ("b.png", "person12_virus", "test", 1, 2),
        ("c.png", "person13_virus", "val", 1, 3),
    )
    found = audit(table, tmp_path)
    assert (found.patients, found.patients_naive, found.patients_naive_shared) == (3, 2, 1)
    assert found.leaks == []


@pytest.mark.parametrize(
    ("patient", "naive"),
    [
        ("person12_bacteria", "person12"),
        ("person12_virus", "person12"),
        ("IM-0115", "IM-0115"),
        ("NORMAL2-IM-0115", "IM-0115"),
        ("phantom-virus-00003", "phantom-virus-00003"),
        ("person12_virus_x", "person12_virus_x"),
    ],
)
def test_a_naive_patient_has_no_series(patient: str, naive: str) -> None:
    assert naive_patient(patient) == naive


def test_the_findings_are_json(prepared: Path) -> None:
    found = asdict(audit(read_manifest(prepared), prepared))
    assert json.loads(json.dumps(found)) == found


@pytest.mark.real
@pytest.mark.skipif(not REAL, reason="CHEST_XRAY_DIR names no folder of real images")
def test_the_real_images_share_no_patient_between_splits(tmp_path: Path) -> None:
    prepare(
        open_source(folder_params(Path(REAL))),
        prepare_params(size=64, validation=0.12, seed=7),
        tmp_path,
    )
    table = read_manifest(tmp_path)
    found = audit(table, tmp_path)
    assert found.images == 5232
    assert (table.groupby("patient_id")["split"].nunique() == 1).all()
    assert not [leak for leak in found.leaks if leak.startswith("patient")]
    # As in published counts, the first number in the file name is the patient.
    sides: dict[str, set[bool]] = {}
    for file, split in zip(table["file"], table["split"], strict=True):
        match = re.search(r"/(?:NORMAL2-)?(person\d+|IM-\d+)[^/]*$", file)
        sides.setdefault(match[1] if match else file, set()).add(split == "test")
    assert found.patients_naive == len(sides)
    assert found.patients_naive_shared == sum(len(where) == 2 for where in sides.values()) > 0
