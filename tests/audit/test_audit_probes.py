"""The probes find an existing shortcut, and none in noise."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from pneumonia.audit.shortcuts import Probe, run_probe, run_probes
from pneumonia.audit.survey import survey
from pneumonia.core.config import load_params
from pneumonia.datasets.manifest import COLUMNS, image_path, read_manifest
from pneumonia.datasets.prepare import prepare
from pneumonia.datasets.sources import open_source
from pneumonia.images.decoding import encode_png
from pneumonia.stats.metrics import intervals
from tests.conftest import phantom_params, prepare_params
from tests.pipeline.imports import ROOT

IMAGES = 400
Image = NDArray[np.uint8]


def probed(folder: Path, shortcut: str) -> dict[str, Probe]:
    """Probes of noise images, one a patient, of which one feature may predict the label."""
    rng = np.random.default_rng(3)
    (folder / "images").mkdir()
    rows = []
    for number in range(IMAGES):
        label = int(rng.integers(2))
        image = rng.integers(0, 256, (64, 64), dtype=np.uint8)
        if shortcut == "border" and label:
            image[:2] //= 4
        if shortcut == "thumbnail" and label:
            image[24:40, 24:40] //= 2
        wide = 300 + 40 * label if shortcut == "file" else int(rng.integers(300, 340))
        image_path(folder, f"{number:04}").write_bytes(encode_png(image))
        split = ("train", "train", "val", "test")[number % 4]
        rows.append(
            [f"{number:04}", f"{number}.png", label, "virus" if label else "normal", f"p{number}",
             split, wide, 300, "L", int(rng.integers(5000, 9000)), ""]
        )  # fmt: skip
    table = pd.DataFrame(rows, columns=COLUMNS)
    return run_probes(table, survey(table, folder), 300, 7)


@pytest.mark.parametrize("shortcut", ["file", "border", "thumbnail"])
def test_a_shortcut_is_found_by_its_probe(tmp_path: Path, shortcut: str) -> None:
    probes = probed(tmp_path, shortcut)
    assert probes[shortcut].auc > 0.99
    others = set(probes) - {shortcut}
    if shortcut == "border":
        others -= {"thumbnail"}  # it contains the border
    for name in others:
        assert probes[name].low <= 0.5 <= probes[name].high, name


def test_noise_has_no_shortcut(tmp_path: Path) -> None:
    for name, probe in probed(tmp_path, "none").items():
        assert probe.low <= 0.5 <= probe.high, name
        assert probe.low < probe.auc < probe.high


def one_feature(labels: NDArray[np.int64], patients: int) -> pd.DataFrame:
    """A manifest whose train and test images have these labels, with several images a patient."""
    rows = [
        [
            f"{split}-{n}",
            "",
            label,
            "",
            f"{split}-{n * patients // len(labels)}",
            split,
            1,
            1,
            "L",
            1,
            "",
        ]
        for split in ("train", "test")
        for n, label in enumerate(labels)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def test_the_interval_is_that_of_the_metrics() -> None:
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 2, 90)
    scores = np.round(np.clip(rng.normal(0.4 + 0.2 * labels, 0.3), 0, 1), 1)  # with ties
    table = one_feature(labels, 30)
    # The score of a probe of one feature rises with the feature, so both have the same AUC.
    probe = run_probe(table, np.tile(scores, 2)[:, None], 200, 7)
    patients = table["patient_id"].to_numpy(str)[90:]
    low, high = intervals(labels, scores, 0.5, patients, 200, 7)["auc"]
    assert (probe.low, probe.high) == (round(low, 4), round(high, 4))
    assert probe.auc == round(roc_auc_score(labels, scores), 4)
    assert low < probe.auc < high


def test_equal_scores_are_chance() -> None:
    table = one_feature(np.array([0, 1, 0, 1, 1, 0]), 6)
    assert run_probe(table, np.zeros((12, 1)), 50, 0) == Probe(0.5, 0.5, 0.5)


def test_probes_are_the_same_twice(prepared: Path) -> None:
    table = read_manifest(prepared)

    def written() -> str:
        found = run_probes(table, survey(table, prepared), 100, 7)
        return json.dumps({name: asdict(probe) for name, probe in found.items()})

    assert written() == written()


@pytest.fixture(scope="module")
def default_probes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Probe]:
    """Probes of the phantom of params.yaml."""
    params = load_params(ROOT / "params.yaml")
    folder = tmp_path_factory.mktemp("default")
    source = phantom_params(params.data.phantom.images)
    assert source.phantom == params.data.phantom
    prepare(
        open_source(source),
        prepare_params(size=224, validation=params.prepare.validation, seed=params.prepare.seed),
        folder,
    )
    table = read_manifest(folder)
    return run_probes(table, survey(table, folder), 200, 7)


@pytest.mark.parametrize("name", ["file", "border", "thumbnail"])
def test_the_phantom_has_no_shortcut(default_probes: dict[str, Probe], name: str) -> None:
    assert default_probes[name].auc <= 0.6
