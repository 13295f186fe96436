"""The heat table shows the values of the table; the sentences name the worst case."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from pneumonia.evaluation.robustness import METRICS, summary
from pneumonia.evaluation.shifts import SHIFTS
from pneumonia.reports import style
from pneumonia.reports.evaluation_figures import heat_table
from pneumonia.reports.evaluation_tables import (
    mean_table,
    robustness_in_words,
    suite_table,
    worst_table,
)

CONDITIONS = [(shift, strength) for shift, spec in SHIFTS.items() for strength in spec.amounts]


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [
        {"model": model, "split": split, "shift": shift, "strength": strength, "images": 90}
        | dict(zip(METRICS, rng.uniform(0.4, 0.9, 3) if plain else (0.98, 0.95, 0.93), strict=True))
        for model in ("scratch", "transfer")
        for split in ("test", "val")
        for plain, (shift, strength) in enumerate([("none", "none"), *CONDITIONS])
    ]
    return pd.DataFrame(rows)


def test_every_value_is_in_its_cell_and_readable(table: pd.DataFrame) -> None:
    style.apply()
    figure = heat_table(table, "test")
    for axis, metric in zip(figure.axes, METRICS, strict=False):
        texts = [text for text in axis.texts if text.get_text()[0].isdigit()]
        printed = {(round(x), round(y)): text for text in texts for x, y in [text.get_position()]}
        image = axis.images[0]
        for column, model in enumerate(("scratch", "transfer")):
            rows = table[(table["model"] == model) & (table["split"] == "test")]
            for row, value in enumerate(rows[metric]):
                text = printed[column, row]
                assert text.get_text() == f"{value:.3f}"
                paper = to_rgb(image.cmap(image.norm(image.get_array()[row, column])))
                assert contrast(paper, to_rgb(text.get_color())) > 4.5  # WCAG 2, level AA


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Contrast ratio of two sRGB colours (WCAG 2)."""

    def luminance(colour: tuple[float, ...]) -> float:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
        return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_the_same_table_draws_the_same_bytes(table: pd.DataFrame, tmp_path: Path) -> None:
    style.apply()
    for name in ("a.png", "b.png"):
        style.save(heat_table(table, "val"), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_the_words_and_tables_give_the_worst_case(table: pd.DataFrame) -> None:
    found = {model: summary(table, model, "test") for model in ("scratch", "transfer")}
    worst = found["transfer"]["worst"]["medium"]
    words = robustness_in_words("transfer", found["transfer"])
    assert f"AUC changes from 0.980 to {worst['auc']:.3f} ({worst['auc_shift']})" in words
    unmoved = {"unshifted": worst, "worst": {"medium": worst}}
    assert f"AUC stays at {worst['auc']:.3f}, " in robustness_in_words("transfer", unmoved)
    rows = worst_table(found).rows
    assert [row[:2] for row in rows[:3]] == [["scratch", s] for s in ("mild", "medium", "strong")]
    assert rows[4][2] == f"{worst['auc']:.3f} ({worst['auc'] - 0.98:+.3f}, {worst['auc_shift']})"
    assert mean_table(found, found).rows[0][:3] == ["validation", "scratch", "90"]


def test_the_suite_is_complete() -> None:
    rows = suite_table().rows
    assert [row[0] for row in rows] == list(SHIFTS)
    assert all(len(row) == len(suite_table().columns) for row in rows)
    assert next(row for row in rows if row[0] == "inversion")[1:4] == ["", "", "1"]
