"""Who goes into test, validation or a fold: decided from each patient's id alone.

Nobody moves when others are added, and all of a patient's images go together. A plain hash of the
id would do that too, but its shares scatter like coin tosses. Here ids are drawn in permuted blocks
(stratified randomisation, as trials allot patients; Pocock 1983, *Clinical Trials*, ch. 5): an id
is read as a series and a number (`person12_bacteria`: the 12th of `person#_bacteria`), each run of
25 numbers of a series is put into a random order, and the first places of that order are held out.
In the Kermany set a series is of one subtype, so its subtypes get equal shares.

Only SHA-256 draws, so no version of a library can move a patient.
"""

from __future__ import annotations

import hashlib
import math
import re
from functools import lru_cache

BLOCK = 25  # 0.12 of it, the validation share as shipped, is a whole number
_GOLDEN = (math.sqrt(5) - 1) / 2
# The last run of digits: NORMAL2-IM-0115 is the 115th of NORMAL2-IM. Longer than any counter, a
# run is part of a UID, and its end does as well.
_NUMBER = re.compile(r"([0-9]{1,18})([^0-9]*)\Z")


def in_test(patient_id: str, share: float, seed: int) -> bool:
    """Whether a patient is held out for test; as `in_validation`, by a draw of its own."""
    return _held_out(patient_id, share, f"{seed}/test")


def in_validation(patient_id: str, share: float, seed: int) -> bool:
    """Whether a training patient is held out for validation.

    A larger share holds out the same patients and more.

    Args:
        patient_id: with its series.
        share: share of the patients held out, 0 to 1: in expectation for any ids, and nearly
            exactly for ids numbered without gaps.
        seed: another seed, another draw.
    """
    return _held_out(patient_id, share, f"{seed}/validation")


def fold_of(patient_id: str, folds: int, seed: int) -> int:
    """The fold, 0 to `folds` - 1, of a patient, for cross-validation.

    Ids numbered without gaps fill the folds evenly, give or take one patient at each end of a
    series.

    Args:
        patient_id: with its series.
        folds: how many, 1 or more.
        seed: another seed, another draw.
    """
    draw = f"{seed}/folds"
    series, number = parse_id(patient_id)
    if number is None:
        return int(_uniform(f"{draw}/{patient_id}") * folds)
    # Counting on from block to block, so that blocks that the folds do not divide even out.
    place = number // BLOCK * BLOCK + _order(draw, series, number // BLOCK)[number % BLOCK]
    return (place + int(_uniform(f"{draw}/{series}") * folds)) % folds


def parse_id(patient_id: str) -> tuple[str, int | None]:
    """Series and number of an id: the id with "#" for its last number, and that number, if any."""
    match = _NUMBER.search(patient_id)
    if match is None:
        return patient_id, None
    return f"{patient_id[: match.start()]}#{match[2]}", int(match[1])


def _held_out(patient_id: str, share: float, draw: str) -> bool:
    series, number = parse_id(patient_id)
    if number is None:
        return _uniform(f"{draw}/{patient_id}") < share
    block = number // BLOCK
    place = _order(draw, series, block)[number % BLOCK]
    # What is not whole in share * BLOCK is rounded up in that part of the blocks. Steps of the
    # golden ratio spread those evenly along the series (Kronecker's sequence), where draws of their
    # own would scatter.
    rounding = (_uniform(f"{draw}/{series}") + block % 2**20 * _GOLDEN) % 1
    return place < math.floor(share * BLOCK + rounding)


@lru_cache(maxsize=65_536)
def _order(draw: str, series: str, block: int) -> tuple[int, ...]:
    """The place of each number of a block in its random order."""
    drawn = [_uniform(f"{draw}/{series}/{block}/{number}") for number in range(BLOCK)]
    ranks = {
        number: place for place, number in enumerate(sorted(range(BLOCK), key=drawn.__getitem__))
    }
    return tuple(ranks[number] for number in range(BLOCK))


def _uniform(text: str) -> float:
    """A number from [0, 1) that the text alone decides."""
    return (int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 11) / 2**53
