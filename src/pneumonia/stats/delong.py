"""Standard errors of one AUC or of a paired difference, where a patient may have several images.

The variance is Obuchowski's (1997, Biometrics 53:567, eqs. 3 to 6 and the paired version). It sums
DeLong's structural components (DeLong, DeLong & Clarke-Pearson 1988, Biometrics 44:837) by patient.
With one image per patient, the variance is DeLong's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from pneumonia.stats.arrays import Floats, Labels, Patients, Scores


@dataclass(frozen=True)
class PairedAuc:
    """The AUCs of two scores of the same images."""

    first: float  #: AUC of the first score, 0 to 1
    second: float  #: AUC of the second score, 0 to 1
    difference: float  #: second - first, -1 to 1
    #: the standard error of the difference, clustered on patients; 0 if both scores rank every pair
    #: alike or both AUCs are 1; infinite if one patient has all images of a class.
    standard_error: float

    def interval(self, level: float) -> tuple[float, float]:
        """The normal interval of the difference, cut to -1 to 1; `level` is between 0 and 1."""
        half = _quantile(level) * self.standard_error
        return max(self.difference - half, -1.0), min(self.difference + half, 1.0)

    @property
    def p_value(self) -> float:
        """The p-value of the two-sided test for a difference.

        If the standard error is 0, the value is 1 for equal AUCs and 0 for different AUCs.
        """
        if self.standard_error == 0:
            return float(self.difference == 0)
        return math.erfc(abs(self.difference) / self.standard_error / math.sqrt(2))


def paired_auc(labels: Labels, first: Scores, second: Scores, patients: Patients) -> PairedAuc:
    """Compare two scores of the same images by their AUC, or by the mean AUC of C conditions.

    For a mean of AUCs, the structural component of an image is the mean of the image's components.
    So the standard error accounts for the images and patients that the conditions have in common.
    Scores are (N,) or (C, N); only the order of the scores in a row matters.

    Raises:
        ValueError: a class has no images, or a score is not a number.
    """
    ones, twos = (
        np.mean([structural_components(labels, row) for row in np.atleast_2d(scores)], axis=0)
        for scores in (first, second)
    )
    # The differences of the components are the components of the difference: no covariance needed.
    error = standard_error(labels, twos - ones, patients)
    aucs = [float(components[labels == 1].mean()) for components in (ones, twos)]
    return PairedAuc(aucs[0], aucs[1], aucs[1] - aucs[0], error)


def auc_interval(
    labels: Labels, scores: Scores, patients: Patients, level: float = 0.95
) -> tuple[float, float]:
    """The interval of the AUC on the logit scale, so within 0 and 1 (Pepe 2003, 5.2.5).

    If the AUC is 1 or 0, the standard error is 0, which gives no interval. The interval is then
    Newcombe's score interval (2006, Statistics in Medicine 25:559, method 5), but with the numbers
    of patients in place of the numbers of images.

    Raises:
        ValueError: for the same reasons as in `paired_auc`.
    """
    components = structural_components(labels, scores)
    auc = float(components[labels == 1].mean())
    if auc in (0, 1):
        ill, well = (len(np.unique(patients[labels == label])) for label in (1, 0))
        bound = perfect_auc_bound(ill, well, level)
        return (bound, 1.0) if auc == 1 else (0.0, 1 - bound)
    error = standard_error(labels, components, patients) / (auc * (1 - auc))
    middle, half = math.log(auc / (1 - auc)), _quantile(level) * error
    low, high = ((1 + math.tanh((middle + side * half) / 2)) / 2 for side in (-1, 1))
    return low, high


def perfect_auc_bound(ill: int, well: int, level: float) -> float:
    """The lower limit of an AUC that is 1 in a sample, from the numbers of patients per class.

    The distance of this limit to 1, in standard errors, is the normal quantile of `level`
    (Newcombe's method 5, see `auc_interval`).
    """
    quantile, others = _quantile(level), (ill + well) / 2 - 1

    def excess(auc: float) -> float:
        spread = 1 + others * ((1 - auc) / (2 - auc) + auc / (1 + auc))
        return (1 - auc) ** 2 - quantile**2 * auc * (1 - auc) * spread / (ill * well)

    low, high = 0.0, 1.0  # `excess` is positive at 0, negative just below 1, and has one root
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return low


def structural_components(labels: Labels, scores: Scores) -> Floats:
    """For each image, (N,), the share of the other class that the image is ranked right against.

    The mean of the components of a class is the AUC. Arguments and errors are as in `paired_auc`.
    """
    if np.isnan(scores).any():
        raise ValueError("a score is not a number")
    components = np.empty(len(labels))
    for label, sign in ((1, 1), (0, -1)):
        own, other = sign * scores[labels == label], np.sort(sign * scores[labels != label])
        if not len(own) or not len(other):
            raise ValueError("images of both classes are needed")
        # A tie counts as half.
        below, up_to = np.searchsorted(other, own, "left"), np.searchsorted(other, own, "right")
        components[labels == label] = (below + up_to) / 2 / len(other)
    return components


def standard_error(labels: Labels, components: Floats, patients: Patients) -> float:
    """The standard error of an AUC or a difference from components, clustered on patients."""
    if (components == components[0]).all():
        return 0.0
    _, patient = np.unique(patients, return_inverse=True)
    clusters = int(patient.max()) + 1
    sums, variance = [], 0.0
    for label in (1, 0):
        own = labels == label
        size, mean = int(own.sum()), components[own].mean()
        sums.append(np.bincount(patient[own], components[own] - mean, clusters) / size)
        holders = len(np.unique(patient[own]))
        if holders == 1:
            return math.inf
        variance += holders / (holders - 1) * float((sums[-1] ** 2).sum())
    # Add the covariance of both sums, from patients with images of both classes.
    variance += 2 * clusters / (clusters - 1) * float((sums[0] * sums[1]).sum())
    return math.sqrt(max(variance, 0.0))


def _quantile(level: float) -> float:
    return NormalDist().inv_cdf((1 + level) / 2)
