"""Metrics and errors of a subgroup equal those counted from its images."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from pneumonia.evaluation.subgroups import (
    LISTED_ERRORS,
    confident_errors,
    error_rates,
    image_attributes,
    share_interval,
    subgroups,
)
from pneumonia.stats.metrics import intervals

COUNT = 120
NEAR = {"image003", "image050"}


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """A manifest's rows; images of pneumonia are small, and some are RGB."""
    rng = np.random.default_rng(0)
    labels = (np.arange(COUNT) // 2) % 2
    return pd.DataFrame(
        {
            "image_id": [f"id{number:03}" for number in range(COUNT)],
            "file": [f"image{number:03}" for number in range(COUNT)],
            "patient_id": [f"p{number // 2}" for number in range(COUNT)],
            "label": labels,
            "subtype": np.where(labels == 0, "normal", rng.choice(["bacteria", "virus"], COUNT)),
            "width": rng.integers(400, 900, COUNT) + 500 * (1 - labels),
            "height": rng.integers(400, 900, COUNT),
            "mode": np.where((labels == 1) & (rng.random(COUNT) < 0.3), "RGB", "L"),
        },
        index=np.arange(COUNT) * 3 + 1,
    )


@pytest.fixture(scope="module")
def groups(rows: pd.DataFrame) -> pd.DataFrame:
    return image_attributes(rows, rows.iloc[:90], NEAR)


@pytest.fixture(scope="module")
def predictions(rows: pd.DataFrame) -> pd.DataFrame:
    logits = np.random.default_rng(1).normal(1.6 * rows["label"] - 0.8, 1)
    return rows[["image_id", "patient_id", "label"]].assign(
        logit=logits, probability=1 / (1 + np.exp(-logits))
    )


def test_attributes_are_read_from_the_manifest(rows: pd.DataFrame, groups: pd.DataFrame) -> None:
    pixels, reference = rows["width"] * rows["height"], (rows["width"] * rows["height"]).iloc[:90]
    thirds = np.sort(reference)[[29, 59]]
    for place, kind in groups.iterrows():
        expected = ["low", "middle", "high"][int((pixels[place] > thirds).sum())]
        assert kind["size"] == expected or pixels[place] in (reference.max(), *thirds)
        assert kind["mode"] == ("RGB" if rows["mode"][place] == "RGB" else "grey")
        assert kind["near_duplicate"] == ("yes" if rows["file"][place] in NEAR else "no")
    assert groups["aspect"].iloc[:90].value_counts().tolist() == [30, 30, 30]


def test_other_images_do_not_change_the_terciles(rows: pd.DataFrame, groups: pd.DataFrame) -> None:
    some = image_attributes(rows.iloc[100:], rows.iloc[:90], NEAR)
    pd.testing.assert_frame_equal(some, groups.iloc[100:])


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("L", "grey"), ("I;16", "grey"), ("MONOCHROME1", "grey"), ("RGB", "RGB"), ("CMYK", "RGB")],
)
def test_modes_are_grey_or_colour(rows: pd.DataFrame, mode: str, kind: str) -> None:
    found = image_attributes(rows.assign(mode=mode), rows, set())
    assert set(found["mode"]) == {kind}


def test_a_subtype_is_compared_with_all_normal_images(
    predictions: pd.DataFrame, groups: pd.DataFrame
) -> None:
    found = subgroups(predictions, groups, 0.5, 100, 7).set_index(["attribute", "group"])
    for group in ("bacteria", "virus"):
        part = predictions[(groups["subtype"] == group) | (predictions["label"] == 0)]
        row = found.loc[("subtype", group)]
        called = part["probability"] >= 0.5
        assert row["images"] == len(part)
        assert row["pneumonia"] == (groups["subtype"] == group).sum()
        assert row["auc"] == pytest.approx(roc_auc_score(part["label"], part["logit"]))
        assert row["sensitivity"] == called[part["label"] == 1].mean()
        assert row["specificity"] == (~called)[part["label"] == 0].mean()
        columns = part["label"].to_numpy(), part["probability"].to_numpy(), 0.5
        patients = part["patient_id"].to_numpy(str)
        bounds = intervals(*columns, patients, 100, 7, part["logit"].to_numpy())
        for metric in ("auc", "brier"):
            assert (row[f"{metric}_low"], row[f"{metric}_high"]) == pytest.approx(bounds[metric])
    assert set(found.loc["size"].index) == {"low", "middle", "high"}
    assert found.loc["size", "images"].sum() == COUNT


def test_a_group_of_one_class_has_the_figures_it_can_have(
    predictions: pd.DataFrame, groups: pd.DataFrame
) -> None:
    # What the real set looks like: all small images have pneumonia.
    ill = predictions["label"] == 1
    sizes = groups.assign(size=np.where(ill, "low", "high"))
    found = subgroups(predictions, sizes, 0.5, 100, 7).query("attribute == 'size'")
    low, high = (found.set_index("group").loc[group] for group in ("low", "high"))
    assert low["sensitivity"] == (predictions["probability"][ill] >= 0.5).mean()
    assert low["sensitivity_low"] < low["sensitivity"] < low["sensitivity_high"]
    assert np.isnan([low["auc"], low["specificity"], high["sensitivity"], low["auc_low"]]).all()
    assert low["brier_low"] < low["brier"] < low["brier_high"]


def test_a_group_without_error_still_has_an_interval(
    predictions: pd.DataFrame, groups: pd.DataFrame
) -> None:
    sure = predictions.assign(logit=predictions["label"] * 8.0 - 4)
    found = subgroups(sure, groups, 0.5, 100, 7)
    assert (found["auc"] == 1).all()
    assert ((found["auc_low"] < 1) & (found["auc_high"] == 1)).all()


def test_every_image_is_in_one_group_of_each_attribute(
    predictions: pd.DataFrame, groups: pd.DataFrame
) -> None:
    found = error_rates(predictions, groups, 0.5, 100, 7)
    called = predictions["probability"] >= 0.5
    wrong = called != (predictions["label"] == 1)
    for _, part in found.groupby("attribute"):
        assert part["images"].sum() == COUNT
        assert part["missed"].sum() + part["false_alarms"].sum() == wrong.sum()
    for row in found.itertuples():
        own = (groups[row.attribute] == row.group).to_numpy()
        assert row.images == own.sum()
        assert row.rate == pytest.approx(wrong[own].mean())
        assert row.false_alarms == (wrong & called)[own].sum()
        assert row.low <= row.rate <= row.high and row.low < row.high
    assert set(found["attribute"]) == {"subtype", "mode", "size", "aspect", "near_duplicate"}


def test_the_most_confident_errors_come_first(
    rows: pd.DataFrame, predictions: pd.DataFrame, groups: pd.DataFrame
) -> None:
    found = confident_errors(predictions, rows, groups, 0.5)
    called = predictions["probability"] >= 0.5
    wrong = predictions[called != (predictions["label"] == 1)]
    assert len(found) == min(LISTED_ERRORS, len(wrong)) == LISTED_ERRORS
    distance = (wrong["probability"] - wrong["label"]).abs()
    expected = wrong.loc[distance.sort_values(ascending=False).index[:LISTED_ERRORS], "image_id"]
    assert found["image_id"].tolist() == expected.tolist()
    first = rows.set_index("image_id").loc[found["image_id"][0]]
    assert found["file"][0] == first["file"]
    assert found["error"][0] == ("missed" if first["label"] == 1 else "false alarm")
    assert found["subtype"][0] == first["subtype"]


def test_equally_confident_errors_are_ordered_by_their_logits(
    rows: pd.DataFrame, predictions: pd.DataFrame, groups: pd.DataFrame
) -> None:
    # Normal images all called, with probabilities of 1 in float64.
    table = predictions[predictions["label"] == 0]
    table = table.assign(probability=1.0, logit=np.linspace(40, 60, len(table)))
    found = confident_errors(table, rows.loc[table.index], groups.loc[table.index], 0.5)
    assert found["logit"].tolist() == sorted(table["logit"], reverse=True)[:LISTED_ERRORS]


def test_no_error_makes_an_empty_table(
    rows: pd.DataFrame, predictions: pd.DataFrame, groups: pd.DataFrame
) -> None:
    right = predictions.assign(probability=predictions["label"] * 0.8 + 0.1)
    found = confident_errors(right, rows, groups, 0.5)
    assert len(found) == 0 and "image_id" in found


def test_a_share_of_none_or_all_has_clopper_and_pearsons_limit() -> None:
    patients = np.array([f"p{number // 3}" for number in range(60)])
    for hits in (np.ones(60, bool), np.zeros(60, bool)):
        exact = binomtest(20 * int(hits[0]), 20).proportion_ci(0.95, "exact")
        assert share_interval(hits, patients, 100, 7) == pytest.approx((exact.low, exact.high))
