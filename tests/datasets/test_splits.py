"""Splits: no patient moves, shares are as requested, and draws are independent."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pneumonia.datasets.manifest import SourceImage
from pneumonia.datasets.prepare import assign_splits
from pneumonia.datasets.splits import BLOCK, in_test, in_validation, parse_id
from tests.conftest import prepare_params

NAMES = st.one_of(
    st.from_regex(r"(person|IM-|NORMAL2-IM-)[0-9]{1,5}(_virus|_bacteria|)", fullmatch=True),
    st.text(min_size=1, max_size=30),
)
PATIENTS = st.lists(NAMES, min_size=1, max_size=20, unique=True)
SHARES = st.floats(0.05, 0.5)
SEEDS = st.integers(0, 2**31 - 1)
HoldOut = Callable[[str, float, int], bool]
HELD_OUT = pytest.mark.parametrize("held_out", [in_test, in_validation])


def images(patients: list[str], split: str = "train") -> list[SourceImage]:
    return [
        SourceImage(
            f"{split}/{patient}-{number}.png", 0, "normal", patient, split, lambda: (b"", None)
        )
        for patient in patients
        for number in range(2)
    ]


@pytest.mark.parametrize(
    ("patient", "series", "number"),
    [
        ("person12_bacteria", "person#_bacteria", 12),
        ("person12_virus", "person#_virus", 12),
        ("IM-0115", "IM-#", 115),
        ("NORMAL2-IM-0115", "NORMAL2-IM-#", 115),
        ("phantom-virus-00012", "phantom-virus-#", 12),
        ("00012", "#", 12),
        ("Anna", "Anna", None),
        ("1.2.840.10008", "1.2.840.#", 10008),
        ("9" * 5000, "9" * 4982 + "#", int("9" * 18)),
        ("p\u0661", "p\u0661", None),
    ],
)
def test_an_id_is_a_series_and_a_number(patient: str, series: str, number: int | None) -> None:
    assert parse_id(patient) == (series, number)


@given(PATIENTS, PATIENTS, SHARES, SHARES, SEEDS, st.booleans())
def test_no_patient_moves_when_images_are_added(
    patients: list[str], others: list[str], test: float, validation: float, seed: int, pool: bool
) -> None:
    params = prepare_params(validation, seed, test=test, official_test=not pool)
    held = images(["held out by the source"], "test")
    before = {image.file: image.split for image in assign_splits(images(patients) + held, params)}
    together = assign_splits(images(others) + held + images(patients), params)
    after = {image.file: image.split for image in together}
    assert {file: after[file] for file in before} == before
    sides: dict[str, set[str]] = {}
    for image in together:
        sides.setdefault(image.patient_id, set()).add(image.split)
    assert all(len(side) == 1 for side in sides.values())


@HELD_OUT
@given(patient=NAMES, seed=SEEDS)
def test_a_larger_share_holds_out_the_same_patients_and_more(
    held_out: HoldOut, patient: str, seed: int
) -> None:
    held = [held_out(patient, share, seed) for share in (0.0, 0.1, 0.12, 0.3, 0.5, 1.0)]
    assert held == sorted(held)
    assert (held[0], held[-1]) == (False, True)


@HELD_OUT
@given(share=SHARES, seed=SEEDS, first=st.integers(0, 1000), count=st.integers(100, 2000))
def test_ids_without_gaps_give_nearly_the_exact_share(
    held_out: HoldOut, share: float, seed: int, first: int, count: int
) -> None:
    held = sum(held_out(f"person{first + n}_virus", share, seed) for n in range(count))
    # Two incomplete blocks, and the rounding.
    assert abs(held - share * count) <= 2 * share * BLOCK + 3


@given(share=SHARES, seed=SEEDS, blocks=st.integers(1, 100))
def test_whole_blocks_hold_out_what_the_rounding_says(share: float, seed: int, blocks: int) -> None:
    counts = Counter(
        number // BLOCK
        for number in range(blocks * BLOCK)
        if in_validation(f"IM-{number:04d}", share, seed)
    )
    whole = math.floor(share * BLOCK)
    assert {counts[block] for block in range(blocks)} <= {whole, whole + 1}
    assert abs(counts.total() - share * BLOCK * blocks) <= 3


@pytest.mark.parametrize("share", [0.05, 0.12, 0.5])
def test_names_without_a_number_give_about_the_share(share: float) -> None:
    names = [str(n).translate(str.maketrans("0123456789", "abcdefghij")) for n in range(4000)]
    assert np.mean([in_test(name, share, 7) for name in names]) == pytest.approx(share, abs=0.03)


def test_draws_are_independent() -> None:
    patients = [
        f"person{number}_{kind}" for number in range(4000) for kind in ("virus", "bacteria")
    ]
    draws = {
        "test": [in_test(patient, 0.5, 7) for patient in patients],
        "validation": [in_validation(patient, 0.5, 7) for patient in patients],
        "seed 8": [in_test(patient, 0.5, 8) for patient in patients],
    }
    together = np.corrcoef(np.array(list(draws.values()), float))
    assert np.abs(together - np.eye(len(draws))).max() < 0.05
    virus, bacteria = (np.array(draws["test"][start::2], float) for start in (0, 1))
    assert abs(np.corrcoef(virus, bacteria)[0, 1]) < 0.05


def test_the_draw_has_not_changed() -> None:
    # Another draw would change every number in the reports.
    def uniform(text: str) -> float:
        return (int(hashlib.sha256(text.encode()).hexdigest()[:16], 16) >> 11) / 2**53

    series, block = "7/validation/person#_virus", 12 // 25
    mine = uniform(f"{series}/{block}/12")
    place = sum(uniform(f"{series}/{block}/{number}") < mine for number in range(25))
    rounding = (uniform(series) + block * 0.6180339887498949) % 1
    share = (place + 1 - rounding) / 25
    assert in_validation("person12_virus", share + 1e-9, 7)
    assert not in_validation("person12_virus", share - 1e-9, 7)
    drawn = [n for n in range(25) if in_validation(f"person{n}_virus", 0.12, 7)]
    assert drawn == [5, 10, 14]
