"""Compute a model's metrics and errors for subgroups of the images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumonia.stats.bootstrap import bootstrap, bound_without_exception, percentile_interval
from pneumonia.stats.delong import perfect_auc_bound
from pneumonia.stats.metrics import Interval, ranked

METRICS = ("auc", "sensitivity", "specificity", "brier")
TERCILES = ("low", "middle", "high")
LISTED_ERRORS = 20


def image_attributes(
    rows: pd.DataFrame, reference: pd.DataFrame, near_duplicates: set[str]
) -> pd.DataFrame:
    """Describe images by the attributes that define the subgroups.

    Args:
        reference: the manifest's rows for the training images. Their terciles are used for all
            images, so the test images do not influence the groups.
        near_duplicates: files that the audit lists in a pair of near duplicates.

    Returns:
        a table with the index of `rows` and text columns: subtype; mode, "grey" or "RGB" (any
        colour); the terciles "low", "middle" or "high" of size (pixels of the source) and aspect
        (width by height); near_duplicate, "yes" or "no".
    """

    def tercile(measure: Callable[[pd.DataFrame], pd.Series[float]]) -> NDArray[np.str_]:
        bounds = measure(reference).quantile([1 / 3, 2 / 3])
        return np.array(TERCILES)[np.searchsorted(bounds, measure(rows))]

    grey = rows["mode"].str.match(r"(?:1|L|LA|I.*|F|MONOCHROME.*)$")
    duplicate = rows["file"].isin(near_duplicates)
    return pd.DataFrame(
        {
            "subtype": rows["subtype"],
            "mode": np.where(grey, "grey", "RGB"),
            "size": tercile(lambda table: table["width"] * table["height"]),
            "aspect": tercile(lambda table: table["width"] / table["height"]),
            "near_duplicate": np.where(duplicate, "yes", "no"),
        },
        index=rows.index,
    )


def subgroups(
    predictions: pd.DataFrame, attributes: pd.DataFrame, threshold: float, resamples: int, seed: int
) -> pd.DataFrame:
    """Compute metrics by subtype of pneumonia (with all normal images), and by tercile of size.

    Args:
        predictions: one model's predictions for one split, as in `evaluate.Evaluation`.
        attributes: the result of `image_attributes` for the same images.

    Returns:
        table: attribute, group, images, pneumonia, patients; for each of `METRICS` its value and
        interval (auc, auc_low, auc_high). A value is NaN if the group lacks the images it needs.
    """
    subtype, size = attributes["subtype"].to_numpy(), attributes["size"].to_numpy()
    normal = predictions["label"].to_numpy() == 0
    groups = [
        ("subtype", group, (subtype == group) | normal) for group in sorted(set(subtype[~normal]))
    ]
    groups += [("size", group, size == group) for group in TERCILES if (size == group).any()]
    results = []
    for attribute, group, member in groups:
        part = predictions[member]
        counts = {
            "attribute": attribute, "group": group, "images": len(part),
            "pneumonia": int(part["label"].sum()), "patients": part["patient_id"].nunique(),
        }  # fmt: skip
        results.append(counts | _metrics(part, threshold, resamples, seed))
    return pd.DataFrame(results)


def error_rates(
    predictions: pd.DataFrame, attributes: pd.DataFrame, threshold: float, resamples: int, seed: int
) -> pd.DataFrame:
    """Compute error rates by attribute; for each attribute, every image is in one group.

    The arguments are the same as for `subgroups`.

    Returns:
        table: attribute, group, images, patients, missed, false_alarms, rate (share of images with
        one of the two errors), low, high (95 % interval by the bootstrap of patients).
    """
    results = []
    called = predictions["probability"] >= threshold
    table = predictions.assign(
        missed=(predictions["label"] == 1) & ~called, alarm=(predictions["label"] == 0) & called
    )
    for attribute in attributes:
        for group, part in table.groupby(attributes[attribute].to_numpy()):
            patients = part["patient_id"].to_numpy(dtype=str)
            wrong = (part["missed"] | part["alarm"]).to_numpy()
            low, high = share_interval(wrong, patients, resamples, seed)
            results.append(
                {
                    "attribute": attribute, "group": group,
                    "images": len(part), "patients": len(np.unique(patients)),
                    "missed": int(part["missed"].sum()), "false_alarms": int(part["alarm"].sum()),
                    "rate": float(wrong.mean()), "low": low, "high": high,
                }
            )  # fmt: skip
    return pd.DataFrame(results)


def confident_errors(
    predictions: pd.DataFrame, rows: pd.DataFrame, attributes: pd.DataFrame, threshold: float
) -> pd.DataFrame:
    """List at most `LISTED_ERRORS` misclassified images, the most confident errors first.

    Args:
        predictions, attributes, threshold: the same as for `subgroups`.
        rows: the manifest's rows for the same images.

    Returns:
        table: image_id, file, patient_id, error ("missed" or "false alarm"), probability, logit,
        and the columns of `attributes`. Confidence: distance of the probability from the label.
    """
    called = (predictions["probability"] >= threshold).to_numpy()
    label = predictions["label"].to_numpy()
    table = predictions[["image_id", "patient_id", "probability", "logit"]].assign(
        error=np.where(label == 1, "missed", "false alarm"), file=rows["file"].to_numpy()
    )
    table = table.join(attributes.set_axis(table.index))[called != (label == 1)]
    # Equal probabilities are ordered by logit, and equal logits by id.
    sign = np.where(table["error"] == "missed", -1, 1)
    table = table.assign(
        distance=(table["probability"] - (sign < 0)).abs(), signed_logit=sign * table["logit"]
    ).sort_values(
        ["distance", "signed_logit", "image_id"], ascending=[False, False, True], kind="stable"
    )
    columns = ["image_id", "file", "patient_id", "error", "probability", "logit", *attributes]
    return table[columns].head(LISTED_ERRORS).reset_index(drop=True)


def share_interval(
    hits: NDArray[np.bool_], patients: NDArray[np.str_], resamples: int, seed: int
) -> Interval:
    """Compute the 95 % interval of the share of True in `hits`, (N,), by the bootstrap of patients.

    If the share is 0 or 1, `bound_without_exception` gives the limit for the number of patients.
    """
    bound = bound_without_exception(len(np.unique(patients)))
    if hits.all() or not hits.any():
        return (bound, 1.0) if hits.all() else (0.0, 1 - bound)
    one_class = np.zeros(len(hits), np.int64)  # so resamples with only one class are allowed
    drawn = bootstrap(
        lambda weights: {"share": weights @ hits / weights.sum(axis=1)},
        one_class, patients, resamples, seed,
    )  # fmt: skip
    return percentile_interval(drawn["share"])


def _metrics(part: pd.DataFrame, threshold: float, resamples: int, seed: int) -> dict[str, Any]:
    labels, patients = part["label"].to_numpy(), part["patient_id"].to_numpy(dtype=str)
    probability, logits = part["probability"].to_numpy(), part["logit"].to_numpy()
    called, positive = probability >= threshold, labels == 1
    values = dict.fromkeys(METRICS, float("nan"))
    bounds: dict[str, Interval] = dict.fromkeys(METRICS, (float("nan"), float("nan")))
    for name, of_class, correct in (
        ("sensitivity", positive, called),
        ("specificity", ~positive, ~called),
    ):
        if of_class.any():
            hits = correct[of_class]
            values[name] = float(hits.mean())
            bounds[name] = share_interval(hits, patients[of_class], resamples, seed)
    squares = (probability - labels) ** 2

    def statistic(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        estimates = {"brier": weights @ squares / weights.sum(axis=1)}
        if positive.any() and not positive.all():
            estimates["auc"] = ranked(labels, logits, weights)[0]
        return estimates

    for name, value in statistic(np.ones((1, len(labels)))).items():
        values[name] = float(value[0])
    for name, drawn in bootstrap(statistic, labels, patients, resamples, seed).items():
        bounds[name] = percentile_interval(drawn)
    if values["auc"] == 1:
        ill, well = (len(np.unique(patients[of_class])) for of_class in (positive, ~positive))
        bounds["auc"] = perfect_auc_bound(ill, well, 0.95), 1.0
    row: dict[str, Any] = {}
    for name in METRICS:
        low, high = bounds[name]
        row |= {name: values[name], f"{name}_low": low, f"{name}_high": high}
    return row
