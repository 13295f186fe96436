"""The bootstrap of patients, and intervals from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

_BLOCK = 500_000  # counts at once: 4 MB, which processors keep close


def bootstrap(
    statistic: Callable[[NDArray[np.float64]], Mapping[str, NDArray[np.float64]]],
    labels: NDArray[np.int64],
    patients: NDArray[np.str_],
    resamples: int,
    seed: int,
) -> dict[str, NDArray[np.float64]]:
    """Statistics of resamples of patients.

    Patients are drawn with replacement, each with all of its images (Field & Welsh 2007, the cluster
    bootstrap): images of one patient are alike, and resampling images would pretend that they are
    not. A resample without images of both classes is drawn again, where the images have both.

    Args:
        statistic: from how often each image is in each of b resamples, float64, (b, N), whole
            numbers, to named values, each (b, ...). It is called with some resamples at a time.
        labels: (N,), 0 or 1.
        patients: (N,), who is on an image.
        resamples: B.
        seed: of the draws; the same patients get the same draws, whatever is measured on them.

    Returns:
        by name, (B, ...).
    """
    rng = np.random.default_rng(seed)
    names, patient_of_image = np.unique(patients, return_inverse=True)
    present = np.unique(labels)
    at_once = max(1, min(resamples, _BLOCK // len(labels)))
    found: list[Mapping[str, NDArray[np.float64]]] = []
    for start in range(0, resamples, at_once):
        block = np.empty((min(at_once, resamples - start), len(labels)))
        for row in block:
            while True:
                picked = rng.integers(len(names), size=len(names))
                row[:] = np.bincount(picked, minlength=len(names))[patient_of_image]
                if all(row[labels == label].any() for label in present):
                    break
        found.append(statistic(block))
    return {name: np.concatenate([part[name] for part in found]) for name in found[0]}


def percentile_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """95 % percentile interval of the values of resamples, (B,); those that are NaN do not count.

    (NaN, NaN) where all are.
    """
    known = values[~np.isnan(values)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


def bound_without_exception(patients: int) -> float:
    """The share in all patients that a sample without an exception leaves open, at 95 %.

    The lower limit of Clopper & Pearson (1934) for n of n: no resample of patients without an error
    has an error, so a bootstrap would give the interval [1, 1].
    """
    return float(0.025 ** (1 / patients))
