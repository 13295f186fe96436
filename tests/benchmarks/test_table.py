"""The table that `make bench` writes says what was measured."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest

from benchmarks import rows
from benchmarks.__main__ import AREAS
from benchmarks.rows import Row, take_turns
from benchmarks.table import Measured, keep, kept, text
from tests.pipeline.imports import ROOT

RATE = Row("images", "images/s", [20.0, 30.0], "a loop", [10.0, 10.0], "the disk", [40.0, 40.0])
TIME = Row("an image", "ms", [2.0, 4.0], "a loop", [8.0, 8.0], "the graph", [1.0, 1.0])
MEASURED = Measured([RATE, TIME], "abc1234", "a machine, 2 cores", "Python 3", 0.1, 1.5)


def test_above_one_ours_is_better_in_rates_and_in_times() -> None:
    assert RATE.times_better() == [2.0, 3.0]
    assert TIME.times_better() == [4.0, 2.0]
    assert RATE.of_the_limit() == [0.5, 0.75]
    assert TIME.of_the_limit() == [0.5, 0.25]


def test_turns_without_a_partner_are_no_ratio() -> None:
    with pytest.raises(ValueError, match="shorter"):
        replace(RATE, theirs=[10.0]).times_better()


def test_ways_take_turns_and_the_first_turn_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rows, "REST", 0.0)
    called: list[str] = []

    def way(name: str) -> float:
        called.append(name)
        return float(len(called))

    found = take_turns({"a": lambda: way("a"), "b": lambda: way("b")}, 2)
    assert "".join(called) == "ba" + "ab" + "ba"
    assert found == {"a": [3.0, 6.0], "b": [4.0, 5.0]}


def test_a_line_has_medians_ranges_and_ratios() -> None:
    told = text({"some": ("Some images.\n\nHow.\n", MEASURED)})
    assert "Machine: a machine, 2 cores. Python 3. Revision abc1234." in told
    assert "## Some images\n\nHow.\n" in told
    assert (
        "| images | 25.0 images/s [20.0, 30.0] | a loop | 10.0 images/s [10.0, 10.0] "
        "| 2.50 [2.00, 3.00] | the disk | 40.0 images/s [40.0, 40.0] | 62.5 % [50.0, 75.0] |"
    ) in told
    assert "2 turns, 1.5 minutes, load before 0.1" in told


def test_columns_that_nothing_fills_are_left_out() -> None:
    told = text({"some": ("Some.", replace(MEASURED, rows=[Row("size", "MB", [655.0])]))})
    assert "| what | ours |\n| --- | --- |\n| size | 655 MB |\n" in told


def test_what_was_not_measured_says_so() -> None:
    without = replace(MEASURED, rows=[Row("image", "MB", note="no Docker Engine")])
    told = text({"image": ("Image.", without), "other": ("Other.", None)})
    assert "| image | not measured: no Docker Engine |" in told
    assert "Not measured: `python -m benchmarks --only other`." in told


def test_areas_of_two_revisions_each_say_theirs() -> None:
    areas = {"a": ("A.", MEASURED), "b": ("B.", replace(MEASURED, revision="def5678"))}
    told = text(areas)
    assert told.index("abc1234") > told.index("## A")
    assert told.index("def5678") > told.index("## B")


def test_figures_are_kept_as_they_are(tmp_path: Path) -> None:
    keep(MEASURED, tmp_path / "new" / "some.json")
    assert kept(tmp_path / "new" / "some.json") == MEASURED


def test_nothing_kept_or_in_another_form_is_nothing_measured(tmp_path: Path) -> None:
    file = tmp_path / "some.json"
    assert kept(file) is None
    file.write_text('{"rows": [{"width": 1}]}')
    assert kept(file) is None


@pytest.mark.parametrize("area", AREAS)
def test_every_area_has_a_title_and_tells_how_it_is_measured(area: str) -> None:
    module = import_module(f"benchmarks.areas.{area}")
    title, empty, *told = (module.__doc__ or "").splitlines()
    assert title.endswith(".") and not empty and told
    assert callable(module.measure)


def test_there_is_no_area_that_is_not_run() -> None:
    files = {file.stem for file in (ROOT / "benchmarks/areas").glob("[!_]*.py")}
    assert files == set(AREAS)


def test_without_a_pipeline_that_has_run_it_says_what_to_do(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks"],
        cwd=tmp_path, env={"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert ran.returncode == 1
    assert ran.stderr == ("bench: data/prepared/manifest.csv: no such file; `make repro` first\n")
