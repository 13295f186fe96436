"""Score many images, on this machine's cores or on those of a Ray cluster."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

from pneumonia.scoring.images import ImageList
from pneumonia.scoring.model import Files, decisive_sha256, load_model
from pneumonia.scoring.output import Record, open_output, remove_leftovers, write_part
from pneumonia.scoring.rows import Row, Scorer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

AHEAD = 2  # parts that are under way on one machine: their rows are what memory holds
TOGETHER = 16  # images that a thread reads before it scores them
DONE = "scored"  # in the counts, beside the codes of errors
Counts = Counter[str]


@dataclass(frozen=True)
class Job:
    """What is to be scored and where to.

    Attributes:
        images: all of them.
        model: files of the model.
        output: folder, absolute, or URL.
        rows: images a part.
        maps: whether the rows have the class activation maps.
    """

    images: ImageList
    model: Files
    output: str
    rows: int
    maps: bool

    def names(self, part: int) -> list[str]:
        """The images of a part."""
        found: list[str] = self.images.names.slice(part * self.rows, self.rows).to_pylist()
        return found

    @property
    def parts(self) -> range:
        """Numbers of the parts."""
        return range(-(-len(self.images.names) // self.rows))


def open_job(job: Job) -> list[int]:
    """Begin or go on: the parts that are left.

    Raises:
        InputError: the output is of something else, or cannot be written.
    """
    model = load_model(job.model, 1)
    record = Record(
        images=len(job.images.names),
        names_sha256=job.images.sha256(),
        rows=job.rows,
        model=model.name,
        version=model.version,
        model_sha256=decisive_sha256(job.model),
        maps=job.maps,
    )
    finished = open_output(job.output, record)
    return [part for part in job.parts if part not in finished]


def close_job(job: Job) -> None:
    """Tidy up; all parts are there."""
    remove_leftovers(job.output)


def score_here(job: Job, parts: Sequence[int], threads: int) -> Iterator[Counts]:
    """Score parts in threads, which decode and infer while others hold Python's lock.

    Yields:
        what became of some images more, as they are scored.

    Raises:
        OSError: a part cannot be written.
    """
    scorer = Scorer(load_model(job.model, threads), job.images.root, job.maps)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="score")
    under_way: deque[tuple[int, Iterator[Row]]] = deque()
    try:
        for part in parts:
            groups = pool.map(scorer.rows, _groups(job.names(part)))
            under_way.append((part, chain.from_iterable(groups)))
            if len(under_way) == AHEAD:
                yield from _finish(job, scorer, *under_way.popleft())
        while under_way:
            yield from _finish(job, scorer, *under_way.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _finish(job: Job, scorer: Scorer, part: int, rows: Iterator[Row]) -> Iterator[Counts]:
    done = []
    for row in rows:
        done.append(row)
        yield _counts([row])
    write_part(job.output, part, scorer.table(done))


def score_on_ray(job: Job, parts: Sequence[int], address: str) -> Iterator[Counts]:
    """Score parts on a Ray cluster, each on one core, by workers that load the model once.

    Yields:
        what became of the images of a part, as it is written.

    Raises:
        InputError: no Ray, no cluster.
    """
    from pneumonia.cluster import each

    make = partial(_worker, job.model, job.images.root, job.output, job.maps)
    return each(address, make, ((part, job.names(part)) for part in parts))


def _worker(
    model: Files, root: str, output: str, maps: bool
) -> Callable[[tuple[int, list[str]]], Counts]:
    scorer = Scorer(load_model(model, 1), root, maps)

    def work(task: tuple[int, list[str]]) -> Counts:
        part, names = task
        rows = [row for group in _groups(names) for row in scorer.rows(group)]
        write_part(output, part, scorer.table(rows))
        return _counts(rows)

    return work


def _groups(names: list[str]) -> list[list[str]]:
    return [names[first : first + TOGETHER] for first in range(0, len(names), TOGETHER)]


def _counts(rows: list[Row]) -> Counts:
    return Counter(row.get("error", DONE) for row in rows)
