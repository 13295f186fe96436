"""Robustness: scikit-learn, a toy graph and plain loops give the same figures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn import metrics as reference

from pneumonia.evaluation.robustness import (
    METRICS,
    ShiftedLogits,
    draw_images,
    measure,
    shifted_logits,
    summary,
    threshold_pool,
)
from pneumonia.evaluation.shifts import SHIFTS, STRENGTHS, shifted
from pneumonia.inference.operating_point import OperatingPoint

SIDE, SEED = 32, 5
CONDITIONS = [(shift, strength) for shift, spec in SHIFTS.items() for strength in spec.amounts]


class Toy:
    """Its logit is mostly a band of the image: every shift changes it, inversion reverses it."""

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def run(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        xrays = images.astype(np.float32)
        logits = (xrays[:, 8:16].mean(axis=(1, 2, 3)) - xrays[:, 20:].mean(axis=(1, 2, 3)) / 2) / 10
        return (logits - 7) * self.scale, np.zeros((len(images), 2, 2), np.float32)


GRAPHS: dict[str, Any] = {"plain": Toy(1), "reverse": Toy(-1)}
POINTS = {"plain": OperatingPoint(0.7, 0.3, 0.6, 1), "reverse": OperatingPoint(1, 0, 0.5, 1)}


def shift_and_run(rows: pd.DataFrame, images: NDArray[np.uint8], count: int) -> ShiftedLogits:
    unshifted = {model: graph.run(images)[0] for model, graph in GRAPHS.items()}
    return shifted_logits(GRAPHS, unshifted, rows, images, count, SEED)


def some_rows(images: int = 120) -> pd.DataFrame:
    """A manifest's rows: patients of one to three images, a third of the patients normal."""
    patients = np.repeat(np.arange(images), np.resize([1, 3, 2], images))[:images]
    return pd.DataFrame(
        {
            "image_id": [f"image{number:03}" for number in range(images)],
            "patient_id": [f"p{patient}" for patient in patients],
            "split": np.where(patients % 2, "val", "test"),
            "label": (patients % 3 > 0).astype(int),
        },
        index=np.arange(images) * 2 + 1,  # as `read_manifest` leaves it after a selection
    )


def some_images(rows: pd.DataFrame) -> NDArray[np.uint8]:
    """Noise, with a band that is brighter the likelier the image shows pneumonia."""
    rng = np.random.default_rng(0)
    images = rng.integers(60, 160, (len(rows), SIDE, SIDE, 1))
    images[:, 8:16] += (40 * rows["label"].to_numpy() + rng.integers(-30, 30, len(rows)))[
        :, None, None, None
    ]
    return images.astype(np.uint8)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    rows = some_rows()
    return measure(shift_and_run(rows, some_images(rows), 1000), POINTS)


def test_each_model_split_and_condition_has_a_row_and_unshifted_comes_first(
    table: pd.DataFrame,
) -> None:
    columns = ["model", "split", "shift", "strength", "images", *METRICS]
    assert table.columns.tolist() == columns
    groups = table.groupby(["model", "split"])
    assert set(groups.groups) == {(model, split) for model in GRAPHS for split in ("test", "val")}
    for _, group in groups:
        found = list(zip(group["shift"], group["strength"], strict=True))
        assert found == [("none", "none"), *CONDITIONS]


def test_the_figures_are_scikit_learns_on_the_shifted_images(table: pd.DataFrame) -> None:
    rows = some_rows()
    images = some_images(rows)
    checked = 0
    for row in table.itertuples():
        part = (rows["split"] == row.split).to_numpy()
        labels, xrays = rows["label"][part], images[part]
        if row.shift != "none":
            ids = rows["image_id"][part].tolist()
            xrays = shifted(xrays, ids, str(row.shift), str(row.strength), SEED)
        model = str(row.model)
        logits = GRAPHS[model].run(xrays)[0].astype(float)
        point = POINTS[model]
        called = 1 / (1 + np.exp(-logits * point.slope - point.intercept)) >= point.threshold
        assert row.images == part.sum()
        assert row.auc == pytest.approx(reference.roc_auc_score(labels, logits))
        assert row.sensitivity == pytest.approx(reference.recall_score(labels, called))
        assert row.specificity == pytest.approx(reference.recall_score(labels, called, pos_label=0))
        checked += 1
    assert checked == 4 * 32


def test_shifts_change_the_results_of_the_toy(table: pd.DataFrame) -> None:
    plain = table[(table["model"] == "plain") & (table["split"] == "test")]
    assert plain["auc"].nunique() > 10
    inverted = plain.loc[plain["shift"] == "inversion", "auc"].item()
    assert inverted == pytest.approx(1 - plain["auc"].iloc[0], abs=1e-9)


def test_the_summary_is_that_of_a_plain_search(table: pd.DataFrame) -> None:
    found = summary(table, "plain", "val")
    rows = table[(table["model"] == "plain") & (table["split"] == "val")].to_dict("records")
    assert found["images"] == rows[0]["images"]
    for metric in METRICS:
        assert found["unshifted"][metric] == rows[0][metric]
        counted = [row[metric] for row in rows[1:] if row["shift"] != "inversion"]
        assert len(counted) == 30
        assert found["mean"][metric] == pytest.approx(sum(counted) / 30)
        for strength in STRENGTHS:
            at = {row["shift"]: row[metric] for row in rows if row["strength"] == strength}
            worst = found["worst"][strength]
            assert worst[metric] == min(at.values())
            assert worst[f"{metric}_shift"] == min(at, key=lambda shift: at[shift])
            assert worst[f"{metric}_change"] == pytest.approx(min(at.values()) - rows[0][metric])
    assert found["worst"]["strong"]["auc_shift"] == "inversion"


def test_all_images_of_a_small_split_are_drawn() -> None:
    rows = some_rows()
    assert draw_images(rows, 80, SEED).all()


def test_the_draw_takes_whole_patients_and_keeps_the_shares_of_labels() -> None:
    rows = some_rows(600)
    drawn = draw_images(rows, 100, SEED)
    assert (draw_images(rows, 100, SEED) == drawn).all()
    assert (draw_images(rows, 100, SEED + 1) != drawn).any()
    patients = set(rows["patient_id"][drawn])
    assert (rows["patient_id"].isin(patients).to_numpy() == drawn).all()
    for split in ("val", "test"):
        part = rows["split"] == split
        assert 100 <= (part & drawn).sum() <= 104  # the last patient of each label may exceed
        share = rows["label"][part & drawn].mean()
        assert share == pytest.approx(rows["label"][part].mean(), abs=0.02)


def test_only_the_drawn_images_are_measured() -> None:
    rows = some_rows(200)
    images = some_images(rows)
    drawn = draw_images(rows, 30, SEED)
    some = measure(shift_and_run(rows, images, 30), POINTS)
    alone = measure(shift_and_run(rows[drawn], images[drawn], 1000), POINTS)
    pd.testing.assert_frame_equal(some, alone)


def test_the_pool_has_the_validation_images_and_their_milder_shifts() -> None:
    rows = some_rows()
    images = some_images(rows)
    found = threshold_pool(shift_and_run(rows, images, 1000), "plain")
    part = (rows["split"] == "val").to_numpy()
    labels, ids = rows["label"].to_numpy()[part], rows["image_id"][part].tolist()
    versions = [images[part]]
    for shift, strength in CONDITIONS:
        if strength in ("mild", "medium"):
            versions.append(shifted(images[part], ids, shift, strength, SEED))
    assert len(versions) == 21
    assert found.logits == pytest.approx(
        np.concatenate([GRAPHS["plain"].run(xrays)[0] for xrays in versions])
    )
    assert found.labels.tolist() == labels.tolist() * 21
    # The weights of each image sum to 1.
    assert found.weights.reshape(21, -1).sum(axis=0) == pytest.approx(np.ones(part.sum()))


def test_test_images_do_not_change_the_pool() -> None:
    rows = some_rows(200)
    images = some_images(rows)
    other = rows.assign(label=rows["label"].where(rows["split"] == "val", 1 - rows["label"]))
    first, second = (
        threshold_pool(shift_and_run(table, images, 30), "plain") for table in (rows, other)
    )
    assert first.logits.tolist() == second.logits.tolist()
    assert first.labels.tolist() == second.labels.tolist()
