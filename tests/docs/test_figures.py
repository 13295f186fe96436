"""The comparison of the numbers in README.md with the reports."""

from __future__ import annotations

from typing import Any

import pytest

from tests.docs.figures import METRICS, differences, same_machine, table
from tests.pipeline.imports import ROOT

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def reports(shift: float = 0.0) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reports that agree with README.md, with every value shifted by `shift`."""
    metrics = {
        model: {
            "test": {
                f"{name}{end}": number + (0 if end else shift)
                for name, cell in zip(METRICS, cells, strict=True)
                for end, number in zip(("", "_low", "_high"), cell, strict=True)
            }
        }
        for model, cells in table(TEXT).items()
    }
    inside = {"energy_inside": 0.71, "mask_area": 0.71 / 5.7, "other_energy_inside": 0.71 / 1.9}
    maps = {
        "transfer": {**inside, "pointing_game": 0.99},
        "scratch": {"pointing_game": 0.63},
    }
    return metrics, maps


def test_equal_numbers_agree() -> None:
    assert differences(TEXT, *reports(), exact=True) == []
    assert differences(TEXT, *reports(), exact=False) == []


def test_a_different_digit_counts_on_the_same_machine_only() -> None:
    assert len(differences(TEXT, *reports(-0.001), exact=True)) == 2 * len(METRICS)
    assert differences(TEXT, *reports(-0.001), exact=False) == []


@pytest.mark.parametrize("shift", [0.2, -0.2])
def test_a_value_beyond_the_interval_counts_on_any_machine(shift: float) -> None:
    assert "scratch auc: " in " ".join(differences(TEXT, *reports(shift), exact=False))


def test_the_sentence_on_heat_maps_and_the_models_count_too() -> None:
    metrics, maps = reports()
    maps["transfer"]["pointing_game"] = 0.97
    assert differences(TEXT, metrics, maps, exact=True) == [
        "maps: ('71', '5.7', '1.9', '99', '63'), not ('71', '5.7', '1.9', '97', '63')"
    ]
    assert "models: " in differences(TEXT, {"transfer": {}}, maps, exact=True)[0]


@pytest.mark.parametrize(
    ("cpuinfo", "cores", "same"),
    [
        ("model name: AMD EPYC 9R14\nflags: avx512f", 2, True),
        ("model name: AMD EPYC 9R14\nflags: avx512f", 4, False),
        ("model name: AMD EPYC 7763\nflags: avx2", 2, False),
        ("model name: Intel(R) Xeon(R)\nflags: avx512f", 2, False),
    ],
)
def test_the_machine_is_recognised(cpuinfo: str, cores: int, same: bool) -> None:
    assert same_machine(TEXT, cpuinfo, cores) is same
