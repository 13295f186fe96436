"""The model card has Mitchell's sections and the metrics of its model."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pneumonia.core.config import DataParams
from pneumonia.reports.model_card import ETHICS, LICENCES, SOURCES, write_model_card
from pneumonia.reports.results import NAMES, Results
from tests.reports.evaluated import evaluated, read_page

MITCHELL = [
    "Model details", "Intended use", "Factors", "Metrics", "Evaluation data", "Training data",
    "Quantitative analyses", "Ethical considerations", "Caveats and recommendations",
]  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("card")


@pytest.fixture(scope="module")
def results(root: Path) -> Results:
    return evaluated(root)


@pytest.fixture(scope="module")
def card(root: Path, results: Results) -> str:
    return write_model_card(root / "evaluate", results, "pneumonia").read_text(encoding="utf-8")


def rows(card: str) -> dict[str, str]:
    """The lines of tables with two columns; of names that come twice, the first."""
    found = re.findall(r"^\| ([^|]*) \| ([^|]*) \|$", card, re.MULTILINE)
    return {name: value.replace("\xa0", " ") for name, value in reversed(found)}


def test_it_has_the_sections_in_order(root: Path, card: str) -> None:
    assert re.findall(r"^## (.*)$", card, re.MULTILINE) == [*MITCHELL, "TRIPOD+AI items"]
    headings = list(read_page(root / "evaluate" / "model_card.html").headings)
    assert [name for name in headings if name in MITCHELL] == MITCHELL


def test_its_metrics_are_those_of_the_chosen_model(root: Path, card: str) -> None:
    found: dict[str, Any] = json.loads((root / "evaluate/metrics.json").read_text())["transfer"]
    of_test, printed = found["test"], rows(card)
    for metric, name in NAMES.items():
        value = of_test[metric.removesuffix("_delong")]
        low, high = of_test[f"{metric}_low"], of_test[f"{metric}_high"]
        assert printed[name] == f"{value:z.3f} [{low:z.3f}, {high:z.3f}]"
    worst = of_test["robustness"]["worst"]["medium"]
    assert f"{worst['auc']:.3f} ({worst['auc_change']:+z.3f}, {worst['auc_shift']})" in card
    point = json.loads((root / "evaluate/operating_point.json").read_text())["models"]["transfer"]
    assert printed["threshold"] == f"{point['threshold']:.3f}; rule youden"
    formula = f"sigmoid({point['slope']:.3f} * logit + {point['intercept']:z.3f})"
    assert printed["probability"] == formula
    graph = (root / "models/transfer/graph.onnx").read_bytes()
    assert printed["graph, SHA-256"] == hashlib.sha256(graph).hexdigest()


def test_it_is_for_the_chosen_model(results: Results, tmp_path: Path) -> None:
    other = replace(results, chosen="scratch")
    text = write_model_card(tmp_path, other, "pneumonia").read_text(encoding="utf-8")
    printed = rows(text)
    assert printed["AUC"] == results.text("scratch", "test", "auc").replace("\xa0", " ")
    assert "residual network" in printed["model"]
    assert "(scratch)" in text.splitlines()[0]


def test_it_states_what_is_unknown(card: str) -> None:
    for needed in ("Not a medical device", "do not contain age, sex", "Xin 2021", ".54",
                   "out of scope", "Apache-2.0", "internal validation"):  # fmt: skip
        assert needed in card, needed


def test_it_counts_the_images_of_each_split(results: Results, card: str) -> None:
    for split, name in (("train", "train"), ("val", "validation"), ("test", "test")):
        part = results.manifest[results.manifest["split"] == split]
        ill = int(part["label"].sum())
        start = f"| {name} | {len(part)} | {part['patient_id'].nunique()} | {ill} "
        assert start in card, start


@pytest.mark.parametrize("source", sorted(SOURCES))
def test_it_states_licence_and_source_of_the_images(
    results: Results, tmp_path: Path, source: str
) -> None:
    card = write_model_card(tmp_path, replace(results, source=source), "pneumonia")
    text = card.read_text(encoding="utf-8")
    assert SOURCES[source] in text and ETHICS[source] in text
    assert f"Licence: {LICENCES[source]}." in text
    assert ("CC BY 4.0" in text) == (source in ("folder", "kaggle", "medmnist"))


def test_every_source_has_its_texts() -> None:
    known = set(DataParams.model_fields["source"].annotation.__args__)  # type: ignore[union-attr]
    assert known == set(SOURCES) == set(LICENCES) == set(ETHICS)


def test_nothing_depends_on_time_or_folder(root: Path, card: str) -> None:
    assert str(root) not in card
    assert not re.search(r"\b20(2[5-9]|3\d)\b|\d\d:\d\d", card)
