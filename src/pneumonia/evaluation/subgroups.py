"""Figures and errors by kind of image: where a model is good, and where it goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumonia.stats.bootstrap import bootstrap, bound_without_exception, percentile_interval
from pneumonia.stats.delong import perfect_auc_bound
from pneumonia.stats.metrics import Interval, ranked

METRICS = ("auc", "sensitivity", "specificity", "brier")
TERCILES = ("low", "middle", "high")
SHOWN = 20


def attributes(
    rows: pd.DataFrame, reference: pd.DataFrame, near_duplicates: set[str]
) -> pd.DataFrame:
    """What is known of images besides the label.

    Args:
        rows: of the manifest.
        reference: the train images of the manifest, whose terciles are everyone's: the test images
            have no say in how they are cut.
        near_duplicates: files that the audit lists in a pair of near duplicates.

    Returns:
        with the index of `rows`, as text: subtype; mode, "grey" or "RGB" (any colour); size
        (pixels of the source) and aspect (width by height), by tercile "low", "middle", "high";
        near_duplicate, "yes" or "no".
    """

    def tercile(measure: str) -> NDArray[np.str_]:
        values, cut = (
            table["width"] * table["height"]
            if measure == "size"
            else table["width"] / table["height"]
            for table in (rows, reference)
        )
        return np.array(TERCILES)[np.searchsorted(cut.quantile([1 / 3, 2 / 3]), values)]

    grey = rows["mode"].str.match(r"(?:1|L|LA|I.*|F|MONOCHROME.*)$")
    near = rows["file"].isin(near_duplicates)
    return pd.DataFrame(
        {
            "subtype": rows["subtype"],
            "mode": np.where(grey, "grey", "RGB"),
            "size": tercile("size"),
            "aspect": tercile("aspect"),
            "near_duplicate": np.where(near, "yes", "no"),
        },
        index=rows.index,
    )


def subgroups(
    predictions: pd.DataFrame, kinds: pd.DataFrame, threshold: float, resamples: int, seed: int
) -> pd.DataFrame:
    """Figures by subtype of pneumonia, each with all normal images, and by tercile of size.

    Args:
        predictions: of one model and split, as in `evaluate.Evaluation`.
        kinds: `attributes` of those images.
        threshold: of the model.
        resamples, seed: of the bootstrap of patients.

    Returns:
        attribute, group, images, pneumonia, patients, and auc, auc_low, auc_high, and so on for
        `METRICS`; what a group has no images for is NaN.
    """
    found = []
    for attribute, group, part in _groups(predictions, kinds):
        labels, patients = part["label"].to_numpy(), part["patient_id"].to_numpy(dtype=str)
        counted = {
            "attribute": attribute, "group": group, "images": len(part),
            "pneumonia": int(labels.sum()), "patients": len(np.unique(patients)),
        }  # fmt: skip
        found.append(counted | _figures(part, threshold, resamples, seed))
    return pd.DataFrame(found)


def errors(
    predictions: pd.DataFrame, kinds: pd.DataFrame, threshold: float, resamples: int, seed: int
) -> pd.DataFrame:
    """Error rates by each attribute; every image is in one group of each.

    Args: as `subgroups`.

    Returns:
        attribute, group, images, patients, missed, false_alarms, rate (both by images), low, high (95
        %, bootstrap of patients).
    """
    found = []
    called = predictions["probability"] >= threshold
    table = predictions.assign(
        missed=(predictions["label"] == 1) & ~called, alarm=(predictions["label"] == 0) & called
    )
    for attribute in kinds:
        for group, part in table.groupby(kinds[attribute].to_numpy()):
            patients = part["patient_id"].to_numpy(dtype=str)
            wrong = (part["missed"] | part["alarm"]).to_numpy()
            low, high = share_interval(wrong, patients, resamples, seed)
            found.append(
                {
                    "attribute": attribute,
                    "group": group,
                    "images": len(part),
                    "patients": len(np.unique(patients)),
                    "missed": int(part["missed"].sum()),
                    "false_alarms": int(part["alarm"].sum()),
                    "rate": float(wrong.mean()),
                    "low": low,
                    "high": high,
                }
            )
    return pd.DataFrame(found)


def confident_errors(
    predictions: pd.DataFrame, rows: pd.DataFrame, kinds: pd.DataFrame, threshold: float
) -> pd.DataFrame:
    """The wrongly decided images, the most confident first, `SHOWN` of them at most.

    Args:
        predictions, kinds, threshold: as in `subgroups`.
        rows: of the manifest, of the same images.

    Returns:
        image_id, file, patient_id, error ("missed" or "false alarm"), probability, logit, and the
        columns of `attributes`. Confidence is the probability's distance to the image's label.
    """
    called = (predictions["probability"] >= threshold).to_numpy()
    label = predictions["label"].to_numpy()
    table = predictions[["image_id", "patient_id", "probability", "logit"]].assign(
        error=np.where(label == 1, "missed", "false alarm"), file=rows["file"].to_numpy()
    )
    table = table.join(kinds.set_axis(table.index))[called != (label == 1)]
    # By the logit where probabilities are equal; by id last, so that the order is one.
    far = np.where(table["error"] == "missed", -1, 1)
    table = table.assign(
        far=(table["probability"] - (far < 0)).abs(), deep=far * table["logit"]
    ).sort_values(["far", "deep", "image_id"], ascending=[False, False, True], kind="stable")
    columns = ["image_id", "file", "patient_id", "error", "probability", "logit", *kinds.columns]
    return table[columns].head(SHOWN).reset_index(drop=True)


def share_interval(
    hits: NDArray[np.bool_], patients: NDArray[np.str_], resamples: int, seed: int
) -> Interval:
    """95 % interval of the share of hits among images, (N,), by the bootstrap of patients.

    A share of 0 or 1 gets the limit of `bound_without_exception` by the number of patients.
    """
    bound = bound_without_exception(len(np.unique(patients)))
    if hits.all() or not hits.any():
        return (bound, 1.0) if hits.all() else (0.0, 1 - bound)
    alike = np.zeros(len(hits), np.int64)  # no class that a resample would have to hold
    drawn = bootstrap(
        lambda weights: {"share": weights @ hits / weights.sum(axis=1)},
        alike, patients, resamples, seed,
    )  # fmt: skip
    return percentile_interval(drawn["share"])


def _groups(
    predictions: pd.DataFrame, kinds: pd.DataFrame
) -> Iterator[tuple[str, str, pd.DataFrame]]:
    subtype, normal = kinds["subtype"].to_numpy(), predictions["label"].to_numpy() == 0
    for group in sorted(set(subtype[~normal])):
        yield "subtype", group, predictions[(subtype == group) | normal]
    for group in TERCILES:
        part = predictions[kinds["size"].to_numpy() == group]
        if len(part):
            yield "size", group, part


def _figures(part: pd.DataFrame, threshold: float, resamples: int, seed: int) -> dict[str, Any]:
    labels, patients = part["label"].to_numpy(), part["patient_id"].to_numpy(dtype=str)
    probability, logits = part["probability"].to_numpy(), part["logit"].to_numpy()
    called, positive = probability >= threshold, labels == 1
    found: dict[str, Any] = {}
    values = dict.fromkeys(METRICS, float("nan"))
    bounds: dict[str, Interval] = dict.fromkeys(METRICS, (float("nan"), float("nan")))
    for name, own, right in (
        ("sensitivity", positive, called),
        ("specificity", ~positive, ~called),
    ):
        if own.any():
            values[name] = float(right[own].mean())
            bounds[name] = share_interval(right[own], patients[own], resamples, seed)
    squares = (probability - labels) ** 2

    def statistic(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        drawn = {"brier": weights @ squares / weights.sum(axis=1)}
        if positive.any() and not positive.all():
            drawn["auc"] = ranked(labels, logits, weights)[0]
        return drawn

    for name, value in statistic(np.ones((1, len(labels)))).items():
        values[name] = float(value[0])
    for name, drawn in bootstrap(statistic, labels, patients, resamples, seed).items():
        bounds[name] = percentile_interval(drawn)
    if values["auc"] == 1:
        ill, well = (len(np.unique(patients[own])) for own in (positive, ~positive))
        bounds["auc"] = perfect_auc_bound(ill, well, 0.95), 1.0
    for name in METRICS:
        low, high = bounds[name]
        found |= {name: values[name], f"{name}_low": low, f"{name}_high": high}
    return found
