"""Assign patients to test and validation, from the patient's id alone.

New patients do not move the others, and all images of a patient stay together. A hash of the id
would do that too, but the shares would vary as those of coin tosses. So this uses permuted blocks,
as clinical trials do (stratified randomisation; Pocock 1983, *Clinical Trials*, ch. 5). An id is a
series and a number (`person12_bacteria`: number 12 of `person#_bacteria`); every 25 numbers of a
series form a block; each block is put into a random order, and its first places are held out. In
the Kermany data set a series has one subtype, so all subtypes get equal shares.

The random numbers come from SHA-256, so no version of a library can move a patient.
"""

from __future__ import annotations

import hashlib
import math
import re
from functools import lru_cache

BLOCK = 25  # a validation share of 0.12 is a whole number of 25
_GOLDEN = (math.sqrt(5) - 1) / 2
# The last digits: NORMAL2-IM-0115 is number 115 of NORMAL2-IM. More than 18 digits are part of a
# UID, of which the last 18 are the number.
_NUMBER = re.compile(r"([0-9]{1,18})([^0-9]*)\Z")


def in_test(patient_id: str, share: float, seed: int) -> bool:
    """Whether a patient is held out for test; like `in_validation`, but an independent draw."""
    return _held_out(patient_id, share, f"{seed}/test")


def in_validation(patient_id: str, share: float, seed: int) -> bool:
    """Whether a training patient is held out for validation.

    `share`, 0 to 1, is the expected share for any ids, and nearly the exact one for ids numbered
    without gaps. A larger share holds out the same patients and more.
    """
    return _held_out(patient_id, share, f"{seed}/validation")


def parse_id(patient_id: str) -> tuple[str, int | None]:
    """Series and number of an id: the id with its last number replaced by "#", and that number."""
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
    # If share * BLOCK is not whole, it is rounded up in a part of the blocks. Steps of the golden
    # ratio (a Kronecker sequence) spread these blocks evenly along the series.
    rounding = (_uniform(f"{draw}/{series}") + block % 2**20 * _GOLDEN) % 1
    return place < math.floor(share * BLOCK + rounding)


@lru_cache(maxsize=65_536)
def _order(draw: str, series: str, block: int) -> list[int]:
    """The numbers of a block, 0 to 24, in random order."""
    return sorted(range(BLOCK), key=lambda number: _uniform(f"{draw}/{series}/{block}/{number}"))


def _uniform(text: str) -> float:
    """A pseudorandom number from [0, 1) for a text."""
    return (int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 11) / 2**53
