"""Hold the figures of README.md to what `make repro` has computed: python -m tests.docs.figures

On the machine that README.md names each printed digit has to be the same. Another CPU rounds
otherwise, and a training carries that on: there a value of README.md has to lie within the interval
computed here, and the one computed here within that of README.md.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from tests.pipeline.imports import ROOT

METRICS = ("auc", "accuracy", "sensitivity", "specificity", "brier")
_MACHINE = re.compile(r"on (\d+) cores of an? (\w+ \w+) with (AVX-512)")
_CELL = re.compile(r"([\d.]+) \[([\d.]+), ([\d.]+)\]")
_MAPS = re.compile(
    r"heat maps of transfer have (\d+) % of their energy inside .*: ([\d.]+) times as much as a"
    r" uniform map, and ([\d.]+) times as much as the map of another image\. .* on (\d+) % of the"
    r" images; for scratch, on (\d+) %"
)


def table(text: str) -> dict[str, list[tuple[float, float, float]]]:
    """README.md's first table of metrics: value and interval of each of `METRICS`, by model."""
    _, _, rest = text.partition("| model | AUC |")
    assert rest, "no table of metrics"
    lines = rest.splitlines()[2:]
    rows = {}
    for line in lines[: next(n for n, line in enumerate(lines) if not line.startswith("|"))]:
        cells = _CELL.findall(line)
        assert len(cells) == len(METRICS), line
        rows[line.split("|")[1].strip()] = [tuple(map(float, cell)) for cell in cells]
    return rows  # type: ignore[return-value]


def same_machine(text: str, cpuinfo: str, cores: int) -> bool:
    """Whether README.md's first table was made on a machine like this one."""
    named = _MACHINE.search(" ".join(text.split()))
    assert named, "no machine is named"
    return named[2] in cpuinfo and "avx512f" in cpuinfo and int(named[1]) == cores


def wrong(text: str, metrics: dict[str, Any], maps: dict[str, Any], exact: bool) -> list[str]:
    """What README.md says otherwise than what was computed; one line each.

    Args:
        text: of README.md.
        metrics: of reports/evaluate/metrics.json.
        maps: of reports/gradcam_report/metrics.json.
        exact: ask for the same digits.
    """
    told = table(text)
    if set(told) != set(metrics):
        return [f"models: {', '.join(told)}, not {', '.join(metrics)}"]
    found = []
    for model, cells in told.items():
        test = metrics[model]["test"]
        for name, cell in zip(METRICS, cells, strict=True):
            here = tuple(test[key] for key in (name, f"{name}_low", f"{name}_high"))
            if not (_printed(cell) == _printed(here) if exact else _agree(cell, here)):
                found.append(f"{model} {name}: {_printed(cell)}, not {_printed(here)}")
    return found + (_wrong_maps(text, maps) if exact else [])


def _wrong_maps(text: str, maps: dict[str, Any]) -> list[str]:
    sentence = _MAPS.search(" ".join(text.split()))
    assert sentence, "no sentence on the heat maps"
    transfer, scratch = maps["transfer"], maps["scratch"]
    inside = transfer["energy_inside"]
    here = (
        f"{100 * inside:.0f}",
        f"{inside / transfer['mask_area']:.1f}",
        f"{inside / transfer['other_energy_inside']:.1f}",
        f"{100 * transfer['pointing_game']:.0f}",
        f"{100 * scratch['pointing_game']:.0f}",
    )
    return [] if sentence.groups() == here else [f"maps: {sentence.groups()}, not {here}"]


def _agree(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    # README.md rounds to three digits.
    pairs = ((one, other), (other, one))
    return all(low - 5e-4 <= value <= high + 5e-4 for (value, *_), (_, low, high) in pairs)


def _printed(cell: tuple[float, ...]) -> str:
    value, low, high = cell
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def main() -> int:
    """Compare, and say on what terms; 1 if README.md is wrong."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    exact = same_machine(text, cpuinfo, len(os.sched_getaffinity(0)))
    metrics, maps = (
        json.loads((ROOT / "reports" / stage / "metrics.json").read_text(encoding="utf-8"))
        for stage in ("evaluate", "gradcam_report")
    )
    found = wrong(text, metrics, maps, exact)
    terms = "to the digit" if exact else "within the intervals: this is another machine"
    print(f"README.md: {'; '.join(found) or 'its figures hold'} ({terms})", file=sys.stderr)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
