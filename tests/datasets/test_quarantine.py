"""Images in quarantine are listed in their table, in audit.json and on the page."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pneumonia.audit.duplicates import NearDuplicates
from pneumonia.audit.leaks import audit
from pneumonia.core.errors import InputError
from pneumonia.datasets.manifest import (
    QUARANTINE_LISTED,
    QuarantinedImage,
    quarantine_summary,
    read_manifest,
    read_quarantine,
    reason_of,
    write_quarantine,
)
from pneumonia.images.decoding import encode_png
from pneumonia.images.limits import ImageError
from pneumonia.reports.data_page import write_data_page

HEADER = "file,label,split,patient_id,reason"
FIGURES = ["images", "balance_images", "balance_patients", "probes", "source", "means"]
FIGURES += ["grey_values", "near_duplicates", "embedding_class", "embedding_split", "augmentation"]


def bad(count: int) -> list[QuarantinedImage]:
    """Images in reverse order."""
    return [
        QuarantinedImage(f"{n:04d}, <b>.png", n % 2, "val", f"0{n}", "broken, \"here\"")
        for n in reversed(range(count))
    ]  # fmt: skip


def test_the_table_is_sorted_and_read_as_it_was(tmp_path: Path) -> None:
    write_quarantine(tmp_path, bad(3))
    assert read_quarantine(tmp_path) == bad(3)[::-1]
    assert (tmp_path / "quarantine.csv").read_text().splitlines()[0] == HEADER


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "no such file"), ("file,label\n", "no column"), (f"{HEADER}\na,x,val,p,r\n", "'x'")],
)
def test_a_missing_or_broken_table_is_an_input_error(
    tmp_path: Path, content: str | None, reason: str
) -> None:
    if content is not None:
        (tmp_path / "quarantine.csv").write_text(content)
    with pytest.raises(InputError, match=rf"{reason}.*dvc repro -f prepare"):
        read_quarantine(tmp_path)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ImageError("no\nimage <_io.BytesIO object at 0x7f00aa>"), "no image <_io.BytesIO object>"),
        (FileNotFoundError(2, "No such file or directory", "/home/a"), "No such file or directory"),
        (OSError("network gone"), "network gone"),
    ],
)
def test_a_reason_is_one_line_without_addresses_and_paths(error: Exception, reason: str) -> None:
    assert reason_of(error) == reason


def test_the_audit_counts_all_and_lists_the_first() -> None:
    images = bad(QUARANTINE_LISTED + 1)
    found = json.loads(json.dumps(quarantine_summary(images)))
    assert found["images"] == QUARANTINE_LISTED + 1
    assert len(found["listed"]) == QUARANTINE_LISTED
    assert found["listed"][0] == vars(images[0])


@pytest.mark.parametrize("count", [0, 2, QUARANTINE_LISTED + 1])
def test_the_page_shows_them(prepared: Path, tmp_path: Path, count: int) -> None:
    for name in FIGURES:
        (tmp_path / f"{name}.png").write_bytes(encode_png(np.zeros((2, 2), np.uint8)))
    near = NearDuplicates(24, 0, 0, 0, 0, [])
    found = audit(read_manifest(prepared), prepared)
    write_data_page(tmp_path, found, near, {}, bad(count))
    page = (tmp_path / "index.html").read_text()
    left_out = "images in quarantine, not read"
    assert f'<th scope="row">{left_out}</th><td>{count}</td>' in page
    assert page.count(", &lt;b&gt;.png") == min(count, QUARANTINE_LISTED)
    assert (">Quarantine</h2>" in page) == (count > 0)
    assert (f"The first {QUARANTINE_LISTED} of them" in page) == (count > QUARANTINE_LISTED)
