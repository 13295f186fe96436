"""Assign patients to test and validation; only the patient's id decides.

New patients do not move other patients, and all images of a patient stay together. A hash of the id
would do the same, but the shares would vary by chance. So this module uses permuted blocks, as
clinical trials do (stratified randomisation; Pocock 1983, *Clinical Trials*, ch. 5). An id consists
of a series and a number: `person12_bacteria` is number 12 of the series `person#_bacteria`. Every
25 numbers of a series form a block. Each block is shuffled, and its first places are held out. In
the Kermany data set a series has one subtype, so all subtypes get equal shares.

The random numbers come from SHA-256, so another version of a library cannot move a patient.
"""

from __future__ import annotations

import hashlib
import math
import re
from functools import lru_cache

BLOCK = 25  # a validation share of 0.12 is exactly 3 of 25
_GOLDEN = (math.sqrt(5) - 1) / 2
# Finds the last digits: NORMAL2-IM-0115 is number 115 of NORMAL2-IM. More than 18 digits belong to
# a UID; the last 18 digits are its number.
_NUMBER = re.compile(r"([0-9]{1,18})([^0-9]*)\Z")


def in_test(patient_id: str, share: float, seed: int) -> bool:
    """Whether a patient is held out for test; drawn like `in_validation`, but independently."""
    return _held_out(patient_id, share, f"{seed}/test")


def in_validation(patient_id: str, share: float, seed: int) -> bool:
    """Whether a training patient is held out for validation.

    `share`, 0 to 1, is the expected share of the patients. If the ids have numbers without gaps,
    the real share is nearly equal to it. A larger share holds out the same patients and more.
    """
    return _held_out(patient_id, share, f"{seed}/validation")


def parse_id(patient_id: str) -> tuple[str, int | None]:
    """Divide an id into its series, where "#" replaces the last number, and this number."""
    match = _NUMBER.search(patient_id)
    if match is None:
        return patient_id, None
    return f"{patient_id[: match.start()]}#{match[2]}", int(match[1])


def _held_out(patient_id: str, share: float, draw: str) -> bool:
    series, number = parse_id(patient_id)
    if number is None:
        return _uniform(f"{draw}/{patient_id}") < share
    block = number // BLOCK
    place = _order(draw, series, block).index(number % BLOCK)
    # If share * BLOCK is not a whole number, it is rounded up in some blocks and down in others.
    # Steps of the golden ratio (a Kronecker sequence) spread these blocks evenly along the series.
    rounding = (_uniform(f"{draw}/{series}") + block % 2**20 * _GOLDEN) % 1
    return place < math.floor(share * BLOCK + rounding)


@lru_cache(maxsize=65_536)
def _order(draw: str, series: str, block: int) -> list[int]:
    """The numbers 0 to 24 in the random order of a block."""
    return sorted(range(BLOCK), key=lambda number: _uniform(f"{draw}/{series}/{block}/{number}"))


def _uniform(text: str) -> float:
    """Turn a text into a pseudorandom number from [0, 1)."""
    return (int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 11) / 2**53
