"""The evaluation page shows the numbers and images of the files, and is self-contained."""

from __future__ import annotations

import base64
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pneumonia.reports import evaluation_figures, evaluation_page, evaluation_tables, style
from pneumonia.reports.evaluation_page import write_evaluation_page
from pneumonia.reports.model_card import write_model_card
from pneumonia.reports.results import NAMES, Results, read_results
from tests.reports.evaluated import PROBES, Page, evaluated, read_page

MODELS = ("scratch", "transfer")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("evaluated")
    results = evaluated(root)
    shutil.copytree(root, root / "again")
    write(root, results)
    return root


def write(root: Path, results: Results) -> None:
    (root / "register").mkdir()
    write_evaluation_page(root / "register", results)
    write_model_card(root / "register", results, "pneumonia")


@pytest.fixture(scope="module")
def results(root: Path) -> Results:
    return read(root)


def read(root: Path) -> Results:
    from tests.reports.evaluated import params

    return read_results(root / "evaluate", root / "prepared", root / "models", "phantom", params())


@pytest.fixture(scope="module")
def page(root: Path) -> Page:
    return read_page(root / "register" / "evaluation.html")


@pytest.fixture(scope="module")
def metrics(root: Path) -> dict[str, Any]:
    return json.loads((root / "evaluate" / "metrics.json").read_text())


def shown(found: dict[str, float], metric: str) -> str:
    value = found[metric.removesuffix("_delong")]
    return f"{value:z.3f} [{found[f'{metric}_low']:z.3f}, {found[f'{metric}_high']:z.3f}]"


@pytest.mark.parametrize(("heading", "split"), [("Result", "test"), ("Validation", "val")])
def test_every_metric_has_its_interval(
    page: Page, metrics: dict[str, Any], heading: str, split: str
) -> None:
    head, *rows = page.tables[heading]
    assert head == ["metric", *MODELS]
    expected = [
        [name, *(shown(metrics[model][split], metric) for model in MODELS)]
        for metric, name in NAMES.items()
    ]
    assert rows == expected
    assert len(rows) == 15


def test_probes_are_listed_with_the_models(page: Page, metrics: dict[str, Any]) -> None:
    models = {model: shown(metrics[model]["test"], "auc") for model in MODELS}
    probes = {
        name: f"{one['auc']:.3f} [{one['low']:.3f}, {one['high']:.3f}]"
        for name, one in PROBES.items()
    }
    rows = page.tables["Models and shortcut probes"][1:]
    assert {name: auc for name, _, auc in rows} == models | probes
    assert [row[2] for row in rows] == sorted((row[2] for row in rows), reverse=True)


def test_the_words_on_probes_follow_the_figures(results: Results) -> None:
    table = results.contenders
    low = min(results.interval(model, "test", "auc")[1] for model in MODELS)

    def said(auc: float) -> str:
        best = table["name"] == table.loc[table["kind"] == "probe", "name"].iloc[0]
        changed = table.assign(auc=table["auc"].where(~best, auc))
        return evaluation_tables.probes_in_words(replace(results, contenders=changed))

    assert said(low - 0.001).endswith("That is below the interval of every model.")
    assert "That is not below the interval of " in said(low + 0.001)


def test_predictive_values_follow_bayes(page: Page, metrics: dict[str, Any]) -> None:
    rows = {(row[0], row[1]): row[2:] for row in page.tables["Predictive values"][1:]}
    for model in MODELS:
        found = metrics[model]["test"]
        sensitivity, specificity = found["sensitivity"], found["specificity"]
        for share in (5, 10, 20):
            ill, well = share / 100, 1 - share / 100
            ppv = ill * sensitivity / (ill * sensitivity + well * (1 - specificity))
            npv = well * specificity / (well * specificity + ill * (1 - sensitivity))
            cells = rows[f"{share} %", model]
            assert [cell.split(" ")[0] for cell in cells] == [f"{ppv:.3f}", f"{npv:.3f}"]


def test_calibration_is_shown_before_and_after(page: Page, metrics: dict[str, Any]) -> None:
    rows = {(row[0], row[1]): row[2:] for row in page.tables["Calibration"][1:]}
    for model in MODELS:
        found = metrics[model]["test"]
        for metric, before in found["uncalibrated"].items():
            assert rows[NAMES[metric], model] == [f"{before:z.3f}", shown(found, metric)]


def test_the_operating_point_is_that_of_the_file(root: Path, page: Page) -> None:
    points = json.loads((root / "evaluate/operating_point.json").read_text())["models"]
    expected = [
        [model, *(f"{points[model][key]:z.3f}" for key in ("threshold", "slope", "intercept"))]
        for model in MODELS
    ]
    assert page.tables["Operating point"][1:] == expected


def test_the_comparison_is_that_of_the_file(root: Path, page: Page) -> None:
    found = json.loads((root / "evaluate/comparison.json").read_text())
    assert found["test"]["in_words"] in page.text
    rows = {row[0]: row[1:] for row in page.tables["Comparison of scratch and transfer"][1:]}
    alone = [f"{found[split]['decisions']['second_only']:,}" for split in ("test", "val")]
    assert rows["only transfer right"] == alone
    auc = found["test"]["auc"]
    expected = f"{auc['difference']:z.3f} [{auc['low']:z.3f}, {auc['high']:z.3f}]"
    assert rows["AUC, transfer - scratch, by DeLong"][0] == expected


def test_subgroups_and_errors_are_those_of_the_files(root: Path, page: Page) -> None:
    groups = pd.read_csv(root / "evaluate/subgroups.csv")
    test = groups[groups["split"] == "test"]
    rows = {(row[0], row[1]): row for row in page.tables["Subgroups"][1:]}
    assert len(rows) == len(test) == 10
    for _, one in test.iterrows():
        row = rows[f"{one['attribute']}: {one['group']}", one["model"]]
        assert row[4] == (
            f"{one['sensitivity']:.3f} [{one['sensitivity_low']:.3f}, "
            f"{one['sensitivity_high']:.3f}]"
        )
    errors = pd.read_csv(root / "evaluate/errors.csv")
    cells = {row[0]: row[1:] for row in page.tables["Errors"][1:]}
    assert len(cells) * 2 == len(errors)
    assert [name for name in cells if name.startswith("size")] == [
        "size: low", "size: middle", "size: high",
    ]  # fmt: skip
    virus = errors[(errors["group"] == "virus") & (errors["model"] == "transfer")].iloc[0]
    assert cells["subtype: virus"][0] == str(virus["images"])
    assert cells["subtype: virus"][2].endswith(f"; {virus['missed']} + {virus['false_alarms']}")


def pixels(source: str) -> Any:
    payload = base64.b64decode(source.removeprefix("data:image/png;base64,"))
    return np.asarray(Image.open(io.BytesIO(payload)))


@pytest.mark.parametrize("model", MODELS)
def test_the_gallery_shows_the_most_confident_errors(root: Path, page: Page, model: str) -> None:
    rows = pd.read_csv(root / "evaluate/predictions.csv", dtype={"image_id": str})
    rows = rows[(rows["model"] == model) & (rows["split"] == "test")]
    points = json.loads((root / "evaluate/operating_point.json").read_text())["models"]
    threshold = points[model]["threshold"]
    wrong = rows[(rows["probability"] >= threshold) != (rows["label"] == 1)]
    far = (wrong["probability"] - wrong["label"]).abs().sort_values(ascending=False)
    images = page.images[f"Most confident errors of {model}"]
    assert len(images) == min(len(wrong), evaluation_page.SHOWN) >= 3
    for (source, caption), row in zip(images, wrong.loc[far.index].itertuples(), strict=False):
        # Each image is of one grey, which tells it from all others.
        assert set(pixels(source).ravel()) == {20 + int(row.image_id, 16)}
        assert f"probability {row.probability:.3f}" in caption
        assert f"threshold {threshold:.3f}" in caption
        assert caption.startswith("missed: " if row.label else "false alarm: normal")
    counted = f"{len(wrong)} of {len(rows)} test images are misclassified"
    assert counted in page.text


def test_a_model_without_errors_says_so(results: Results) -> None:
    right = results.curves["confusion"]["transfer"].assign(predicted=lambda rows: rows["actual"])
    none = results.confident_errors
    changed = replace(
        results,
        curves=results.curves | {"confusion": dict.fromkeys(MODELS, right)},
        confident_errors=none[none["model"] == "none"],
    )
    section = evaluation_page.error_sections(changed)[-1]
    assert section.thumbnails == []
    assert section.paragraphs == [f"None of the {len(right)} test images is misclassified."]


@pytest.mark.parametrize("name", ["evaluation.html", "model_card.html"])
def test_a_page_is_whole_and_can_be_read_aloud(root: Path, name: str) -> None:
    page = read_page(root / "register" / name)
    ids = list(page.headings.values())
    assert len(set(ids)) == len(ids)
    images = [found for tag, found in page.tags if tag == "img"]
    assert len(images) >= (13 if name == "evaluation.html" else 0)
    assert all(found["alt"] and found["src"].startswith("data:image/png;") for found in images)  # type: ignore[union-attr]
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    for tag, found in page.tags:
        links = [found.get(key) or "" for key in ("href", "src", "srcset", "data", "action")]
        for link in filter(None, links):
            assert link.startswith("data:") or link.removeprefix("#") in ids, (tag, link)
    html = (root / "register" / name).read_text(encoding="utf-8")
    assert "url(" not in html and "@import" not in html
    heads = [found for tag, found in page.tags if tag == "th"]
    assert heads and all(found.get("scope") in ("col", "row") for found in heads)
    assert "Not a medical device" in page.text


def test_the_same_input_gives_the_same_bytes_elsewhere(root: Path) -> None:
    write(root / "again", read(root / "again"))
    files = sorted(path.name for path in (root / "register").iterdir() if path.is_file())
    assert {"evaluation.html", "model_card.md", "roc.png", "decision.png"} < set(files)
    for name in files:
        again = (root / "again" / "register" / name).read_bytes()
        assert again == (root / "register" / name).read_bytes(), name


def test_confusion_figures_count_the_decisions(results: Results) -> None:
    style.apply()
    decisions = results.curves["confusion"]
    figure = evaluation_figures.confusion(decisions)
    for axis, rows in zip(figure.axes, decisions.values(), strict=True):
        printed = [int(text.get_text().split("\n")[0]) for text in axis.texts]
        expected = [
            int(((rows["actual"] == actual) & (rows["predicted"] == predicted)).sum())
            for actual in ("NORMAL", "PNEUMONIA")
            for predicted in ("NORMAL", "PNEUMONIA")
        ]
        assert printed == expected


Draw = Callable[[Results], Any]


@pytest.mark.parametrize(
    ("draw", "value"),
    [
        (lambda found: evaluation_figures.metrics(
            found.intervals[found.intervals["split"] == "test"]),
         lambda found: found.interval("transfer", "test", "auc")[0]),
        (lambda found: evaluation_figures.contenders(found.contenders), lambda _: 0.61),
    ],
)  # fmt: skip
def test_forests_draw_the_values(
    results: Results, draw: Draw, value: Callable[[Results], float]
) -> None:
    style.apply()
    drawn = [
        float(x)
        for axis in draw(results).axes
        for line in axis.lines
        for x in np.ravel(np.asarray(line.get_xdata(), float))
    ]
    assert any(abs(x - value(results)) < 1e-12 for x in drawn)


def test_rules_have_a_description() -> None:
    assert "at least 0.95" in evaluation_tables.rule_in_words("sensitivity>=0.95")
    assert "costs 5 and a false alarm 1" in evaluation_tables.rule_in_words("cost 5:1")
    assert "Youden" in evaluation_tables.rule_in_words("youden")


def test_a_probability_is_not_rounded_to_certainty() -> None:
    assert evaluation_tables.probability_text(0.0001) == "< 0.001"
    assert evaluation_tables.probability_text(0.99999) == "> 0.999"
    assert evaluation_tables.probability_text(0.5) == "0.500"


def test_no_bar_of_a_subgroup_is_cut_off() -> None:
    def row(model: str, group: str, auc: float, sensitivity: float) -> dict[str, Any]:
        found: dict[str, Any] = {
            "model": model,
            "attribute": "subtype",
            "group": group,
            "images": 9,
        }
        values = {"auc": auc, "sensitivity": sensitivity, "specificity": 0.99}
        for metric, value in values.items():
            found |= {metric: value, f"{metric}_low": value - 0.05, f"{metric}_high": 1.0}
        return found

    table = pd.DataFrame([row("scratch", "bacteria", 0.999, 0.7), row("transfer", "virus", 1, 0.9)])
    figure = evaluation_figures.subgroups(table)
    for axis in figure.axes:
        left, right = axis.get_xlim()
        assert left < 0.65
        assert right > 1
