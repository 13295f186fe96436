"""Compare the numbers in README.md with the outputs of `make repro`: python -m tests.docs.figures

On the machine that README.md names, every printed digit must be the same. Another CPU rounds
differently, which changes a training. There, each value of README.md must be within the interval
computed here, and each value computed here within the interval of README.md.
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
    """The first table in README.md: value and interval of each of `METRICS`, by model."""
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
    """Whether the first table in README.md comes from a machine like this one."""
    machine = _MACHINE.search(" ".join(text.split()))
    assert machine, "no machine is named"
    return machine[2] in cpuinfo and "avx512f" in cpuinfo and int(machine[1]) == cores


def differences(text: str, metrics: dict[str, Any], maps: dict[str, Any], exact: bool) -> list[str]:
    """The differences between README.md and the computed numbers, one line each.

    Args:
        text: content of README.md.
        metrics: content of reports/evaluate/metrics.json.
        maps: content of reports/gradcam_report/metrics.json.
        exact: require the same digits.
    """
    printed = table(text)
    if set(printed) != set(metrics):
        return [f"models: {', '.join(printed)}, not {', '.join(metrics)}"]
    lines = []
    for model, cells in printed.items():
        test = metrics[model]["test"]
        for name, cell in zip(METRICS, cells, strict=True):
            computed = tuple(test[key] for key in (name, f"{name}_low", f"{name}_high"))
            if not (_format(cell) == _format(computed) if exact else _agree(cell, computed)):
                lines.append(f"{model} {name}: {_format(cell)}, not {_format(computed)}")
    return lines + (_differences_of_maps(text, maps) if exact else [])


def _differences_of_maps(text: str, maps: dict[str, Any]) -> list[str]:
    sentence = _MAPS.search(" ".join(text.split()))
    assert sentence, "no sentence on the heat maps"
    transfer, scratch = maps["transfer"], maps["scratch"]
    inside = transfer["energy_inside"]
    computed = (
        f"{100 * inside:.0f}",
        f"{inside / transfer['mask_area']:.1f}",
        f"{inside / transfer['other_energy_inside']:.1f}",
        f"{100 * transfer['pointing_game']:.0f}",
        f"{100 * scratch['pointing_game']:.0f}",
    )
    if sentence.groups() == computed:
        return []
    return [f"maps: {sentence.groups()}, not {computed}"]


def _agree(first: tuple[float, ...], second: tuple[float, ...]) -> bool:
    """Whether each value is within the interval of the other, up to rounding to three digits."""
    pairs = ((first, second), (second, first))
    return all(low - 5e-4 <= value <= high + 5e-4 for (value, *_), (_, low, high) in pairs)


def _format(cell: tuple[float, ...]) -> str:
    value, low, high = cell
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def main() -> int:
    """Compare and print the result; return 1 if README.md differs."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    exact = same_machine(text, cpuinfo, len(os.sched_getaffinity(0)))
    metrics, maps = (
        json.loads((ROOT / "reports" / stage / "metrics.json").read_text(encoding="utf-8"))
        for stage in ("evaluate", "gradcam_report")
    )
    lines = differences(text, metrics, maps, exact)
    mode = "exact digits" if exact else "within the intervals, because this is another machine"
    print(f"README.md: {'; '.join(lines) or 'the numbers agree'} ({mode})", file=sys.stderr)
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main())
