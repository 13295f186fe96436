"""What an area of `make bench` hands on: figures, turn by turn, and what they are held against."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

REST = 0.3  # s
SHOWN = 6  # ways, in the line that a turn prints


@dataclass(frozen=True)
class Setting:
    """What an area is measured on.

    Attributes:
        turns: times that each way is measured.
        data: the prepared folder of the working tree.
        training: folder of the network that is the champion.
        model: the champion's URI.
        scratch: an empty folder that is removed afterwards.
    """

    turns: int
    data: Path
    training: Path
    model: str
    scratch: Path


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what: is measured, and on how much.
        unit: of all figures; of one that ends in "/s" more is better, of others less.
        ours: a figure a turn; none where `note` says why it was not measured.
        rival: what one would use instead; "" if there is nothing.
        theirs: its figures, as many as `ours`.
        limit: what the machine could do at best; "" where that is not known.
        bound: its figures, as many as `ours`.
        note: what a reader has to know.
    """

    what: str
    unit: str
    ours: list[float] = field(default_factory=list)
    rival: str = ""
    theirs: list[float] = field(default_factory=list)
    limit: str = ""
    bound: list[float] = field(default_factory=list)
    note: str = ""

    def times_better(self) -> list[float]:
        """How many times the rival's figure ours is, turn by turn; above 1 ours is better."""
        return self._over(self.theirs)

    def of_the_limit(self) -> list[float]:
        """Which share of the limit ours is, turn by turn."""
        return self._over(self.bound)

    def _over(self, others: list[float]) -> list[float]:
        pairs = zip(self.ours, others, strict=True) if others else ()
        rate = self.unit.endswith("/s")
        return [mine / other if rate else other / mine for mine, other in pairs]


def take_turns(
    ways: Mapping[str, Callable[[], float]], turns: int, warm_up: bool = True
) -> dict[str, list[float]]:
    """Figures of several ways, one after the other in each turn, so that noise meets all of them.

    Every other turn goes through them backwards. With `warm_up` there is a turn before the first
    one that does not count.
    """
    found: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(-warm_up, turns):
        for name in list(ways)[:: 1 if turn % 2 == 0 else -1]:
            # The libraries' threads spin for a while after a call, in the way of the next one.
            time.sleep(REST)
            figure = ways[name]()
            if turn >= 0:
                found[name].append(figure)
        if turn >= 0:
            told = [f"{name} {three(values[-1])}" for name, values in found.items()]
            more = f", and {len(told) - SHOWN} more" if len(told) > SHOWN else ""
            line = f"  turn {turn + 1} of {turns}: {', '.join(told[:SHOWN])}{more}"
            print(line, file=sys.stderr, flush=True)
    return found


def seconds(work: Callable[[], object]) -> float:
    """How long a call takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def three(value: float) -> str:
    """A figure with three digits that count; whole above that."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}".rstrip(".")


def spread(values: Sequence[float], unit: str = "") -> str:
    """Median and, of several values, the range."""
    middle = f"{three(statistics.median(values))}{unit}"
    return middle + (f" [{three(min(values))}, {three(max(values))}]" if len(values) > 1 else "")
