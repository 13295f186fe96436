"""The files of a small evaluation, and a parser for pages."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from pneumonia.core.config import EvaluateParams
from pneumonia.datasets.manifest import ManifestRow, image_path, read_manifest, write_manifest
from pneumonia.evaluation import evaluate, robustness
from pneumonia.evaluation.evaluate import write_files
from pneumonia.evaluation.shifts import SHIFTS
from pneumonia.evaluation.subgroups import image_attributes
from pneumonia.images.decoding import encode_png
from pneumonia.reports.results import Results, read_results
from tests.pipeline.imports import ROOT

SIZE = 16
SUBTYPES = ("normal", "bacteria", "virus")
PROBES = {"file": {"auc": 0.61, "low": 0.5, "high": 0.7}, "border": {"auc": 0.7, "low": 0.6, "high": 0.8}}  # fmt: skip  # noqa: E501


def evaluated(root: Path, source: str = "phantom") -> Results:
    """Write images, models and the files of `evaluate` under `root`, and read them back."""
    images, models, folder = root / "prepared", root / "models", root / "evaluate"
    (images / "images").mkdir(parents=True)
    write_manifest(images, [_row(number, images) for number in range(210)])
    table = read_manifest(images)
    rows = table[table["split"].isin(evaluate.SPLITS)]
    attributes = image_attributes(rows, table[table["split"] == "train"], set())
    block = params()
    labels = rows["label"].to_numpy()
    maps = np.ones((len(rows), 2, 2), np.float32)
    rng = np.random.default_rng(3)
    logits = {
        name: (skill * (2 * labels - 1) + rng.normal(0, 1.5, len(rows))).astype(np.float32)
        for name, skill in (("scratch", 1.0), ("transfer", 2.0))
    }
    conditions = [(shift, strength) for shift, one in SHIFTS.items() for strength in one.amounts]
    shifted = {
        name: np.stack([plain, *(plain + rng.normal(0, 1, len(plain)) for _ in conditions)])
        for name, plain in logits.items()
    }
    shifted_logits = robustness.ShiftedLogits(rows, [("none", "none"), *conditions], shifted)
    found = {
        name: evaluate.evaluate_model(
            name,
            (logits[name], maps),
            rows,
            attributes,
            robustness.threshold_pool(shifted_logits, name),
            block,
        )
        for name in logits
    }
    points = {name: one.point for name, one in found.items()}
    shifts = robustness.measure(shifted_logits, points)
    folder.mkdir()
    compared = evaluate.compare_models(found["scratch"], found["transfer"], block)
    write_files(folder, found, shifts, compared, PROBES)
    card = {"better": "transfer", "models": {name: asdict(one) for name, one in points.items()}}
    (folder / "operating_point.json").write_text(json.dumps(card))
    _write_models(models)
    return read_results(folder, images, models, source, block)


def params() -> EvaluateParams:
    """The shipped block, with few resamples."""
    block = yaml.safe_load((ROOT / "params.yaml").read_text())["evaluate"]
    return EvaluateParams.model_validate(block | {"bootstrap": 100})


def _row(number: int, images: Path) -> ManifestRow:
    """An image of one grey; two images per patient; of 7 patients 3 train, 2 val and 2 test."""
    patient, subtype = number // 2, SUBTYPES[number // 2 % 3]
    name = f"{number:016x}"
    image_path(images, name).write_bytes(encode_png(np.full((SIZE, SIZE), 20 + number, np.uint8)))
    return ManifestRow(
        name, f"image{number}.png", int(subtype != "normal"), subtype, f"p{patient}",
        ("train", "train", "train", "val", "val", "test", "test")[patient % 7],
        600 + number * 7 % 500, 500, "L" if number % 4 else "RGB", 9000, "",
    )  # fmt: skip


def _write_models(models: Path) -> None:
    shipped = yaml.safe_load((ROOT / "params.yaml").read_text())
    for name in ("scratch", "transfer"):
        (models / name).mkdir(parents=True)
        (models / name / "graph.onnx").write_bytes(name.encode())
        history = {"epoch": [1, 2], "loss": [0.7, 0.5], "val_loss": [0.6, 0.5],
                   "val_auc": [0.8, 0.9]}  # fmt: skip
        pd.DataFrame(history).to_csv(models / name / "history.csv", index=False)
        record = {"model": name, "params": shipped[f"train_{name}"], "data_digest": "d" * 64,
                  "image_size": SIZE, "weights": 1234567}  # fmt: skip
        (models / name / "training.json").write_text(json.dumps(record))


@dataclass
class Page(HTMLParser):
    """The content of a page.

    Attributes:
        headings: id by text, in order.
        tables: by the heading above, its rows of cells.
        images: by the heading above, source and caption of each thumbnail.
        tags: every tag with its attributes.
        text: all of it.
    """

    headings: dict[str, str] = field(default_factory=dict)
    tables: dict[str, list[list[str]]] = field(default_factory=dict)
    images: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    text: str = ""

    def __post_init__(self) -> None:
        super().__init__()
        self._open: list[str] = []
        self._heading = self._source = self._piece = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        self._piece = self._piece if tag in ("strong", "br") else ""
        if tag == "tr":
            self.tables.setdefault(self._heading, []).append([])
        if tag == "img":
            self._source = found.get("src") or ""
        if tag in ("h2", "h3"):
            self._id = found["id"] or ""
        if tag not in ("meta", "img", "br"):
            self._open.append(tag)

    def handle_data(self, data: str) -> None:
        data = data.replace("\xa0", " ")
        self._piece += data
        self.text += data

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag  # every tag is closed, in order
        if tag in ("h2", "h3"):
            self._heading = self._piece
            assert self._piece not in self.headings
            self.headings[self._piece] = self._id
        if tag in ("td", "th"):
            self.tables[self._heading][-1].append(self._piece)
        if tag == "figcaption" and "ul" in self._open:
            self.images.setdefault(self._heading, []).append((self._source, self._piece))


def read_page(path: Path) -> Page:
    """Parse a page."""
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    page.close()
    assert not page._open
    return page
