"""The tables of `make bench`."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest

from benchmarks import measurement
from benchmarks.__main__ import AREAS
from benchmarks.measurement import Row, take_turns
from benchmarks.table import Measured, store, stored, text
from tests.pipeline.imports import ROOT

RATE = Row("images", "images/s", [20.0, 30.0], "a loop", [10.0, 10.0], "the disk", [40.0, 40.0])
TIME = Row("an image", "ms", [2.0, 4.0], "a loop", [8.0, 8.0], "the graph", [1.0, 1.0])
MEASURED = Measured([RATE, TIME], "abc1234", "a machine, 2 cores", "Python 3", 0.1, 1.5)


def test_a_ratio_above_one_is_better_for_rates_and_for_times() -> None:
    assert RATE.times_better() == [2.0, 3.0]
    assert TIME.times_better() == [4.0, 2.0]
    assert RATE.of_the_limit() == [0.5, 0.75]
    assert TIME.of_the_limit() == [0.5, 0.25]


def test_values_of_different_numbers_have_no_ratio() -> None:
    with pytest.raises(ValueError, match="shorter"):
        replace(RATE, theirs=[10.0]).times_better()


def test_functions_take_turns_and_the_first_turn_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(measurement, "PAUSE", 0.0)
    called: list[str] = []

    def function(name: str) -> float:
        called.append(name)
        return float(len(called))

    values = take_turns({"a": lambda: function("a"), "b": lambda: function("b")}, 2)
    assert "".join(called) == "ba" + "ab" + "ba"
    assert values == {"a": [3.0, 6.0], "b": [4.0, 5.0]}


def test_a_row_has_medians_ranges_and_ratios() -> None:
    page = text({"some": ("Some images.\n\nHow.\n", MEASURED)})
    assert "Machine: a machine, 2 cores. Python 3. Revision abc1234." in page
    assert "## Some images\n\nHow.\n" in page
    assert (
        "| images | 25.0 images/s [20.0, 30.0] | a loop | 10.0 images/s [10.0, 10.0] "
        "| 2.50 [2.00, 3.00] | the disk | 40.0 images/s [40.0, 40.0] | 62.5 % [50.0, 75.0] |"
    ) in page
    assert "2 turns, 1.5 minutes, load before 0.1" in page


def test_empty_columns_are_left_out() -> None:
    page = text({"some": ("Some.", replace(MEASURED, rows=[Row("size", "MB", [655.0])]))})
    assert "| task | this project |\n| --- | --- |\n| size | 655 MB |\n" in page


def test_missing_measurements_are_mentioned() -> None:
    without = replace(MEASURED, rows=[Row("image", "MB", note="no Docker Engine")])
    page = text({"image": ("Image.", without), "other": ("Other.", None)})
    assert "| image | not measured: no Docker Engine |" in page
    assert "Not measured: `python -m benchmarks --only other`." in page


def test_areas_of_two_revisions_name_their_own() -> None:
    areas = {"a": ("A.", MEASURED), "b": ("B.", replace(MEASURED, revision="def5678"))}
    page = text(areas)
    assert page.index("abc1234") > page.index("## A")
    assert page.index("def5678") > page.index("## B")


def test_measurements_are_stored_unchanged(tmp_path: Path) -> None:
    store(MEASURED, tmp_path / "new" / "some.json")
    assert stored(tmp_path / "new" / "some.json") == MEASURED


def test_a_missing_file_or_another_format_counts_as_not_measured(tmp_path: Path) -> None:
    file = tmp_path / "some.json"
    assert stored(file) is None
    file.write_text('{"rows": [{"width": 1}]}')
    assert stored(file) is None


@pytest.mark.parametrize("area", AREAS)
def test_every_area_has_a_title_and_a_description(area: str) -> None:
    module = import_module(f"benchmarks.areas.{area}")
    title, empty, *description = (module.__doc__ or "").splitlines()
    assert title.endswith(".") and not empty and description
    assert callable(module.measure)


def test_every_area_is_run() -> None:
    files = {file.stem for file in (ROOT / "benchmarks/areas").glob("[!_]*.py")}
    assert files == set(AREAS)


def test_without_outputs_of_the_pipeline_it_says_what_to_do(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks"],
        cwd=tmp_path, env={"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert result.returncode == 1
    assert result.stderr == (
        "bench: data/prepared/manifest.csv: no such file; run `make repro` first\n"
    )
