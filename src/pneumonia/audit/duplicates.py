"""Duplicates: identical images, and images that look alike."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumonia.core.files import sha256
from pneumonia.datasets.manifest import image_path, reading

LISTED = 200  # near-duplicate pairs listed in the report
_ROWS = 512  # so many images at a time are compared with all others, to save memory


@dataclass(frozen=True)
class Pair:
    """Two images that look alike but are not identical."""

    #: first, second: the positions of the two images in the manifest, first < second.
    first: int
    second: int
    distance: int  #: number of bits in which the two hashes differ


@dataclass(frozen=True)
class NearDuplicates:
    """Pairs of images that look alike."""

    distance: int  #: how many of the 256 bits may differ in a pair
    #: pairs, across_splits, across_patients, across_labels: the number of all pairs, of pairs in
    #: two splits, of pairs from two patients, and of pairs with two labels.
    pairs: int
    across_splits: int
    across_patients: int
    across_labels: int
    #: at most `LISTED` pairs with their files; pairs across splits come first, then close pairs.
    listed: list[dict[str, Any]]


def pixel_groups(table: pd.DataFrame, folder: Path) -> pd.Series:
    """For each row, the number of its group of identical images, in order of appearance.

    Raises:
        InputError: an image is missing.
    """
    # Equal pixels give equal files, because one encoder writes all images, without metadata.
    with reading(folder):
        hashes = [sha256(image_path(folder, image_id)) for image_id in table["image_id"]]
    return pd.Series(pd.factorize(np.array(hashes))[0], index=table.index)


def closest_pairs(
    hashes: NDArray[np.bool_], groups: NDArray[np.int64], distance: int, count: int
) -> list[Pair]:
    """List all pairs within `distance` bits, but at least the `count` closest pairs.

    `hashes` has shape (N, B), `groups` (N,). If several images have the same number in `groups`,
    only the first image is compared. The pairs are sorted by distance, then by row.
    """
    rows = np.unique(groups, return_index=True)[1]
    rows.sort()
    # A matrix product of +1 and -1 gives the Hamming distance; it is exact in float32, and fast.
    signs = np.where(hashes[rows], np.float32(1), np.float32(-1))
    bits = signs.shape[1]
    closest = np.empty((0, 3), np.int64)
    for start in range(0, len(rows), _ROWS):
        distances = ((bits - signs[start : start + _ROWS] @ signs.T) / 2).astype(np.int16)
        # Count each pair once, and compare no image with itself.
        own = np.arange(start, start + len(distances))[:, None]
        distances[np.arange(len(rows)) <= own] = bits + 1
        bound = distance
        if 0 < count <= distances.size:
            bound = max(bound, int(np.partition(distances, count - 1, axis=None)[count - 1]))
        first, second = np.nonzero(distances <= min(bound, bits))
        new = np.stack([first + start, second, distances[first, second]], axis=1)
        closest = np.concatenate([closest, new])
        closest = closest[np.lexsort((closest[:, 1], closest[:, 0], closest[:, 2]))]
        closest = closest[: max(count, int((closest[:, 2] <= distance).sum()))]
    return [Pair(int(rows[a]), int(rows[b]), int(bits)) for a, b, bits in closest]


def near_duplicates(table: pd.DataFrame, pairs: list[Pair], distance: int) -> NearDuplicates:
    """Count and list the pairs within `distance`; `pairs` is the result of `closest_pairs`."""
    within = [pair for pair in pairs if pair.distance <= distance]
    first = table.iloc[[pair.first for pair in within]]
    second = table.iloc[[pair.second for pair in within]]
    splits, patients, labels = (
        first[column].to_numpy() != second[column].to_numpy()
        for column in ("split", "patient_id", "label")
    )
    # `within` is sorted by distance already; a stable sort keeps that order.
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
                "files": [side["file"].iloc[place] for side in (first, second)],
                "splits": [side["split"].iloc[place] for side in (first, second)],
                "patients": [side["patient_id"].iloc[place] for side in (first, second)],
            }
            for place in order[:LISTED]
        ],
    )
