"""Compare two models on the same images: their AUCs, and their decisions."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumonia.stats.arrays import Patients
from pneumonia.stats.bootstrap import bootstrap, percentile_interval
from pneumonia.stats.delong import PairedAuc, paired_auc
from pneumonia.stats.metrics import Interval, ranked


@dataclass(frozen=True)
class Decisions:
    """Counts of images that two models decide correctly, and tests of the difference."""

    first_only: int  #: images that only the first model decides correctly
    second_only: int  #: images that only the second model decides correctly
    both: int  #: images that both models decide correctly
    neither: int  #: images that neither model decides correctly
    #: exact two-sided p-value (McNemar 1947, as a binomial test). The test treats images as
    #: independent, so the p-value is too small if patients have several images.
    mcnemar_p: float
    #: p-value of the test by patient (Durkalski et al. 2003, Statistics in Medicine 22:2417): chi
    #: square with one degree of freedom. With one image per patient, the chi square equals
    #: McNemar's without continuity correction.
    clustered_p: float


@dataclass(frozen=True)
class Comparison:
    """Two models on the same images of one split."""

    names: tuple[str, str]  #: the names of the first and the second model
    images: int  #: the number of images
    patients: int  #: the number of patients
    auc: PairedAuc  #: both AUCs, and their difference by DeLong, clustered on patients
    #: the 95 % interval of the difference of AUCs, by the paired bootstrap of patients.
    bootstrap: Interval
    decisions: Decisions  #: the decisions at the models' thresholds

    def as_dict(self) -> dict[str, Any]:
        """The content of comparison.json; an infinite standard error becomes null."""
        low, high = self.auc.interval(0.95)
        error = self.auc.standard_error if math.isfinite(self.auc.standard_error) else None
        return {
            "first": self.names[0],
            "second": self.names[1],
            "images": self.images,
            "patients": self.patients,
            "auc": {
                **asdict(self.auc), "standard_error": error,
                "low": low, "high": high, "p": self.auc.p_value,
                "bootstrap_low": self.bootstrap[0], "bootstrap_high": self.bootstrap[1],
            },
            "decisions": asdict(self.decisions),
            "in_words": in_words(self),
        }  # fmt: skip


def compare(
    first: pd.DataFrame,
    second: pd.DataFrame,
    thresholds: tuple[float, float],
    resamples: int,
    seed: int,
) -> Comparison:
    """Compare two models by their predictions of one split, and by their thresholds.

    Each table has one row per image: image_id, patient_id, label, model, logit, probability.

    Raises:
        ValueError: the tables have different images, or the same images in a different order.
    """
    if first["image_id"].tolist() != second["image_id"].tolist():
        raise ValueError("the models were scored on different images")
    labels, patients = first["label"].to_numpy(), first["patient_id"].to_numpy(dtype=str)
    logits = first["logit"].to_numpy(), second["logit"].to_numpy()
    resampled = bootstrap(
        lambda weights: {
            "difference": ranked(labels, logits[1], weights)[0]
            - ranked(labels, logits[0], weights)[0]
        },
        labels, patients, resamples, seed,
    )  # fmt: skip
    first_correct, second_correct = (
        (rows["probability"].to_numpy() >= threshold) == (labels == 1)
        for rows, threshold in zip((first, second), thresholds, strict=True)
    )
    return Comparison(
        (str(first["model"].iloc[0]), str(second["model"].iloc[0])),
        len(labels),
        len(np.unique(patients)),
        paired_auc(labels, *logits, patients),
        percentile_interval(resampled["difference"]),
        compare_decisions(first_correct, second_correct, patients),
    )


def compare_decisions(
    first: NDArray[np.bool_], second: NDArray[np.bool_], patients: Patients
) -> Decisions:
    """Compare two models; `first` and `second`, (N,), tell for which images each one is right."""
    only = int((first & ~second).sum()), int((second & ~first).sum())
    _, patient = np.unique(patients, return_inverse=True)
    share = np.bincount(patient, first.astype(float) - second) / np.bincount(patient)
    squares = float((share**2).sum())
    chi_square = float(share.sum()) ** 2 / squares if squares > 0 else 0.0
    return Decisions(
        *only,
        both=int((first & second).sum()),
        neither=int((~first & ~second).sum()),
        mcnemar_p=exact_mcnemar(*only),
        clustered_p=math.erfc(math.sqrt(chi_square / 2)),
    )


def exact_mcnemar(first_only: int, second_only: int) -> float:
    """The two-sided p-value if each model has the same chance for each discordant image."""
    discordant, fewer = first_only + second_only, min(first_only, second_only)
    tail = sum(math.comb(discordant, count) for count in range(fewer + 1))
    return min(1.0, 2 * tail / 2**discordant)


def in_words(comparison: Comparison) -> str:
    """Describe the comparison in one or two sentences."""
    auc, decisions = comparison.auc, comparison.decisions
    first, second = comparison.names
    low, high = auc.interval(0.95)
    size = f"{comparison.images:,} images of {comparison.patients:,} patients"
    interval = f"95 % interval {low:+.3f} to {high:+.3f}, p {_p(auc.p_value)}"
    values = f"({auc.second:.3f} against {auc.first:.3f}; {interval})"
    if low > 0 or high < 0:
        better, worse = (second, first) if auc.difference > 0 else (first, second)
        text = f"On {size}, {better} ranks better than {worse}: "
        text += f"the AUC of {second} differs by {auc.difference:+.3f} {values}."
    else:
        text = f"On {size}, {second} and {first} cannot be distinguished by AUC: "
        text += f"the difference is {auc.difference:+.3f} {values}."
    if decisions.first_only + decisions.second_only == 0:
        return f"{text} At their operating points they are right on the same images."
    return (
        f"{text} At their operating points {second} alone is right on {decisions.second_only} "
        f"and {first} alone on {decisions.first_only} images "
        f"({'a' if decisions.clustered_p < 0.05 else 'no'} difference beyond chance, "
        f"p {_p(decisions.clustered_p)} by patient)."
    )


def contenders(
    comparison: Comparison, intervals: dict[str, Interval], probes: dict[str, dict[str, float]]
) -> pd.DataFrame:
    """Put models and shortcut probes in one table, the best first: name, kind, auc, low, high.

    The kind is "model" or "probe". `intervals` has the AUC's interval of each model, by name.
    `probes`, from audit.json, has auc, low and high on the same images, by name of the probe.
    """
    aucs = dict(zip(comparison.names, (comparison.auc.first, comparison.auc.second), strict=True))
    rows = [(name, "model", auc, *intervals[name]) for name, auc in aucs.items()]
    rows += [
        (name, "probe", probe["auc"], probe["low"], probe["high"]) for name, probe in probes.items()
    ]
    table = pd.DataFrame(rows, columns=["name", "kind", "auc", "low", "high"])
    return table.sort_values(["auc", "name"], ascending=[False, True], ignore_index=True)


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"
