"""What the stage `evaluate` takes from which split, in the pipeline as it runs."""

from __future__ import annotations

import numpy as np

from pneumonia.datasets.manifest import load_images, read_manifest
from pneumonia.evaluation.shifts import shifted
from pneumonia.inference import plausibility
from tests.pipeline.clone import Clone


def test_the_statistics_behind_the_warnings_are_of_training_and_validation_images(
    reproduced: Clone,
) -> None:
    data = reproduced.path / "data/prepared"
    table = read_manifest(data)
    train, val = (load_images(data, table[table["split"] == one]) for one in ("train", "val"))
    fitted = plausibility.fit(train, val, shifted)
    written = plausibility.load(reproduced.path / "reports/evaluate/plausibility.npz")
    for name in ("mean", "variances", "distance", "brightness", "contrast"):
        assert np.allclose(getattr(written, name), getattr(fitted, name), rtol=1e-4, atol=1e-4)
