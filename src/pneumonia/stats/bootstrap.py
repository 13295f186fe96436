"""The bootstrap of patients, and intervals of bootstrap values."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from pneumonia.stats.arrays import Floats, Labels, Patients

_BLOCK = 500_000  # counts that are computed together: 4 MB, which fits into a CPU's cache


def bootstrap(
    statistic: Callable[[Floats], Mapping[str, Floats]],
    labels: Labels,
    patients: Patients,
    resamples: int,
    seed: int,
) -> dict[str, Floats]:
    """Compute statistics of resamples of patients (the cluster bootstrap, Field & Welsh 2007).

    Patients are drawn with replacement, and each patient brings all of their images. If the images
    have both classes, a resample with only one class is drawn again.

    `statistic` gets counts, (b, N): how often each image is in each of b resamples. It returns
    named values, each (b, ...). With the same seed, the same patients get the same draws for every
    statistic. `bootstrap` returns the values of all resamples, (B, ...), by name.
    """
    rng = np.random.default_rng(seed)
    names, patient_of_image = np.unique(patients, return_inverse=True)
    present = np.unique(labels)
    block_size = max(1, min(resamples, _BLOCK // len(labels)))
    blocks: list[Mapping[str, Floats]] = []
    for start in range(0, resamples, block_size):
        weights = np.empty((min(block_size, resamples - start), len(labels)))
        for row in weights:
            while True:
                drawn = rng.integers(len(names), size=len(names))
                row[:] = np.bincount(drawn, minlength=len(names))[patient_of_image]
                if all(row[labels == label].any() for label in present):
                    break
        blocks.append(statistic(weights))
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def percentile_interval(values: Floats) -> tuple[float, float]:
    """The 95 % percentile interval of values, (B,), without their NaNs; NaN if all are NaN."""
    known = values[~np.isnan(values)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


def bound_without_exception(patients: int) -> float:
    """The lower 95 % limit of a share that is 1 in a sample of patients.

    The limit is Clopper and Pearson's (1934) for n of n. A bootstrap would give an interval from 1
    to 1, because resamples have no exception either.
    """
    return float(0.025 ** (1 / patients))
