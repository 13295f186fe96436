"""How an area of `make bench` measures, and the rows of the table that it returns."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

PAUSE = 0.3  # seconds before each measurement
SHOWN = 6  # values at most in the line that a turn prints


@dataclass(frozen=True)
class Setting:
    """The data and models to measure with.

    Attributes:
        turns: how often each function is measured.
        data: the prepared folder of the working tree.
        training: the folder of the training whose network is the champion.
        model: URI of the champion.
        scratch: an empty folder, removed afterwards.
    """

    turns: int
    data: Path
    training: Path
    model: str
    scratch: Path


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        task: what is measured, with the amount of data.
        unit: unit of all values. If it ends in "/s", higher is better; otherwise lower is better.
        ours: a value for each turn; empty if it was not measured, for the reason in `note`.
        alternative: the common alternative; "" if there is none.
        theirs: values of the alternative, as many as `ours`.
        limit: what bounds the speed on this machine; "" if that is not known.
        bound: values of the limit, as many as `ours`.
        note: a remark for the reader.
    """

    task: str
    unit: str
    ours: list[float] = field(default_factory=list)
    alternative: str = ""
    theirs: list[float] = field(default_factory=list)
    limit: str = ""
    bound: list[float] = field(default_factory=list)
    note: str = ""

    def times_better(self) -> list[float]:
        """How many times better ours is than the alternative, for each turn."""
        return self._ratios(self.theirs)

    def of_the_limit(self) -> list[float]:
        """The share of the limit that ours reaches, for each turn."""
        return self._ratios(self.bound)

    def _ratios(self, others: list[float]) -> list[float]:
        pairs = zip(self.ours, others, strict=True) if others else ()
        is_rate = self.unit.endswith("/s")
        return [ours / other if is_rate else other / ours for ours, other in pairs]


def take_turns(
    functions: Mapping[str, Callable[[], float]], turns: int, warm_up: bool = True
) -> dict[str, list[float]]:
    """Measure several functions in turns, so that other work on the machine disturbs all of them.

    In each turn every function is called once, in every second turn in reverse order.

    Args:
        functions: by name; each returns its measured value.
        turns: how many values to return for each.
        warm_up: begin with one more turn, whose values are dropped.
    """
    values: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(-warm_up, turns):
        for name in list(functions)[:: 1 if turn % 2 == 0 else -1]:
            # After a call, threads of the libraries stay busy for a while and would disturb the
            # next.
            time.sleep(PAUSE)
            value = functions[name]()
            if turn >= 0:
                values[name].append(value)
        if turn >= 0:
            latest = [f"{name} {three_digits(values[name][-1])}" for name in values]
            more = f", and {len(latest) - SHOWN} more" if len(latest) > SHOWN else ""
            line = f"  turn {turn + 1} of {turns}: {', '.join(latest[:SHOWN])}{more}"
            print(line, file=sys.stderr, flush=True)
    return values


def seconds(work: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def three_digits(value: float) -> str:
    """A number with three significant digits, or a whole number if it is larger."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}".rstrip(".")


def spread(values: Sequence[float], unit: str = "") -> str:
    """The median, and the range if there are several values."""
    median = f"{three_digits(statistics.median(values))}{unit}"
    if len(values) == 1:
        return median
    return f"{median} [{three_digits(min(values))}, {three_digits(max(values))}]"
