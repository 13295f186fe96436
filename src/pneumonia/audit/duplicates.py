"""Images that are the same: pixel for pixel, or to the eye."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumonia.core.errors import InputError
from pneumonia.datasets.manifest import image_path

LISTED = 200  # near-duplicate pairs written out one by one
_ROWS = 512  # images compared with all others at a time; bounds the memory


@dataclass(frozen=True)
class Pair:
    """Two images of other pixels that look alike.

    Attributes:
        first, second: rows of the manifest, first < second.
        distance: bits of their hashes that differ.
    """

    first: int
    second: int
    distance: int


@dataclass(frozen=True)
class NearDuplicates:
    """What the search found.

    Attributes:
        distance: the bits that may differ, of 256.
        pairs, across_splits, across_patients, across_labels: how many pairs there are, and how many
            of them lie in two splits, carry two patients' ids, and both labels.
        listed: the first of them with their files, at most `LISTED`: across splits first, then the
            closest.
    """

    distance: int
    pairs: int
    across_splits: int
    across_patients: int
    across_labels: int
    listed: list[dict[str, Any]]

    def as_dict(self) -> dict[str, Any]:
        """For audit.json."""
        return asdict(self)


def pixel_groups(table: pd.DataFrame, folder: Path) -> pd.Series:
    """Number of the group of identical images that each row belongs to, in order of appearance.

    Raises:
        InputError: an image is missing.
    """
    try:
        hashes = [
            # Prepared images come from one encoder without metadata: equal pixels, equal bytes.
            hashlib.sha256(image_path(folder, image_id).read_bytes()).hexdigest()
            for image_id in table["image_id"]
        ]
    except OSError as error:
        raise InputError(f"{folder}: {error}; `dvc repro -f prepare` makes it anew") from None
    return pd.Series(pd.factorize(np.array(hashes))[0], index=table.index)


def closest_pairs(
    hashes: NDArray[np.bool_], groups: NDArray[np.int64], distance: int, count: int
) -> list[Pair]:
    """Every pair of images within `distance`, and the next closest up to `count` pairs in all.

    Copies are compared once: of each group of identical images the first stands for all.

    Args:
        hashes: bool, (N, B).
        groups: (N,), equal for images of equal pixels.
        distance: bits that may differ.
        count: pairs wanted even when fewer are within the distance.

    Returns:
        by distance, then by row.
    """
    rows = np.unique(groups, return_index=True)[1]
    rows.sort()
    # The Hamming distance from a dot product of +-1, exact in float32 and quick in BLAS.
    signs = np.where(hashes[rows], np.float32(1), np.float32(-1))
    bits = signs.shape[1]
    found = np.empty((0, 3), np.int64)
    for start in range(0, len(rows), _ROWS):
        apart = ((bits - signs[start : start + _ROWS] @ signs.T) / 2).astype(np.int16)
        # Each pair once, and no image with itself.
        apart[np.arange(len(rows)) <= np.arange(start, start + len(apart))[:, None]] = bits + 1
        bound = distance
        if 0 < count <= apart.size:
            bound = max(bound, int(np.partition(apart, count - 1, axis=None)[count - 1]))
        first, second = np.nonzero(apart <= min(bound, bits))
        new = np.stack([first + start, second, apart[first, second]], axis=1)
        found = np.concatenate([found, new])
        found = found[np.lexsort((found[:, 1], found[:, 0], found[:, 2]))]
        found = found[: max(count, int((found[:, 2] <= distance).sum()))]
    return [Pair(int(rows[a]), int(rows[b]), int(bits)) for a, b, bits in found]


def near_duplicates(table: pd.DataFrame, pairs: list[Pair], distance: int) -> NearDuplicates:
    """Count and list the pairs within `distance`; `pairs` from `closest_pairs`."""
    within = [pair for pair in pairs if pair.distance <= distance]
    sides = [table.iloc[[getattr(pair, side) for pair in within]] for side in ("first", "second")]

    def differ(column: str) -> NDArray[np.bool_]:
        return sides[0][column].to_numpy() != sides[1][column].to_numpy()

    splits, patients, labels = differ("split"), differ("patient_id"), differ("label")
    # `within` comes closest first, and the sort is stable.
    order = np.argsort(~splits, kind="stable")
    return NearDuplicates(
        distance=distance,
        pairs=len(within),
        across_splits=int(splits.sum()),
        across_patients=int(patients.sum()),
        across_labels=int(labels.sum()),
        listed=[
            {
                "distance": within[place].distance,
                "files": [side["file"].iloc[place] for side in sides],
                "splits": [side["split"].iloc[place] for side in sides],
                "patients": [side["patient_id"].iloc[place] for side in sides],
            }
            for place in order[:LISTED]
        ],
    )
