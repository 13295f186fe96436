"""Score many images, in threads or on a Ray cluster, and write the scores to part files."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

from pneumonia.images.limits import ImageError
from pneumonia.inference.bundle import ModelBundle, ModelFiles, decisive_sha256, load_files
from pneumonia.inference.predictor import CheckedImage
from pneumonia.inference.warnings import image_error
from pneumonia.scoring.images import ImageList, read_bytes
from pneumonia.scoring.output import Record, open_output, write_part

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]
Result = TypeVar("Result")
Counts = Counter[str]
SCORED = "scored"  # a key of the counts; the other keys are codes of errors
CONCURRENT_PARTS = 2  # on one machine; their rows are in memory
GROUP = 16  # images that a thread reads before it scores them


@dataclass(frozen=True)
class Scorer:
    """Scores each image on one core; several threads may share one scorer."""

    model: ModelBundle  #: the model
    root: str  #: folder or URL; the names of the images are relative to it
    maps: bool = False  #: whether rows contain the class activation maps

    def rows(self, names: Sequence[str]) -> list[Row]:
        """Score some images; if an image fails, its row has the reason.

        First all images are read and checked, then the graph runs on all of them. If the two steps
        alternated, each image would replace the content of the core's caches.
        """
        images = [_attempt(name, partial(self._read, name)) for name in names]
        return [
            image if isinstance(image, dict) else _attempt(name, partial(self._score, name, image))
            for name, image in zip(names, images, strict=True)
        ]

    def _read(self, name: str) -> CheckedImage:
        return self.model.predictor.check(read_bytes(self.root, name))

    def _score(self, name: str, image: CheckedImage) -> Row:
        predictor = self.model.predictor
        [logit], [heat_map] = predictor.graph.run(image.pixels[None, ..., None], on_one_core=True)
        row = {"file": name} | predictor.interpret(image, logit, heat_map).figures()
        row["warnings"] = [warning.code for warning in image.warnings]
        return row | ({"map": heat_map.tolist()} if self.maps else {})

    def table(self, rows: Iterable[Row]) -> pa.Table:
        """Make a table from the rows, with the columns and types of `schema`."""
        import pyarrow as pa

        model = self.model
        common = {
            "threshold": model.predictor.point.threshold,
            "model": model.name,
            "version": model.version,
            "model_sha256": model.predictor.graph.sha256,
        }
        return pa.Table.from_pylist([row | common for row in rows], schema(self.maps))


def schema(maps: bool) -> pa.Schema:
    """Return the columns of the data set.

    If an image was scored, `error` and `error_message` are null. If it was not scored,
    `probability`, `label`, `warnings` and `map` are null.
    """
    import pyarrow as pa

    columns = [
        pa.field("file", pa.string(), nullable=False),
        pa.field("probability", pa.float64()),  # calibrated, of pneumonia, 0 to 1
        pa.field("label", pa.string()),  # NORMAL or PNEUMONIA, by the threshold
        pa.field("threshold", pa.float64(), nullable=False),
        pa.field("warnings", pa.list_(pa.string())),  # codes of inference.warnings
        pa.field("error", pa.string()),  # code of the error
        pa.field("error_message", pa.string()),
        pa.field("model", pa.string(), nullable=False),
        pa.field("version", pa.string(), nullable=False),
        pa.field("model_sha256", pa.string(), nullable=False),  # hash of the graph
    ]
    if maps:
        columns.append(pa.field("map", pa.list_(pa.list_(pa.float32()))))
    return pa.schema(columns)


def _attempt(name: str, step: Callable[[], Result]) -> Result | Row:
    """Run one step for one image; return its result, or a row with the reason of the failure."""
    try:
        return step()
    except ImageError as error:
        reason = image_error(error)
        code, message = reason["code"], reason["message"]
    except FileNotFoundError:
        code, message = "missing_file", "there is no such file"
    except OSError as error:
        code, message = "unreadable_file", error.strerror or type(error).__name__
    except Exception as error:
        # Storage libraries raise their own exceptions, and one bad image must not stop the job.
        code, message = "unexpected", f"{type(error).__name__}: {error}"
    return {"file": name, "error": code, "error_message": message}


@dataclass(frozen=True)
class Job:
    """The images to score, the model, and the place for the output."""

    images: ImageList  #: all images
    model: ModelFiles  #: the model's files, from `fetch_model`
    output: str  #: absolute path of a folder, or URL
    rows: int  #: number of images in a part
    maps: bool  #: whether rows contain the class activation maps

    def names(self, part: int) -> list[str]:
        """Return the names of the images in a part."""
        names: list[str] = self.images.names.slice(part * self.rows, self.rows).to_pylist()
        return names


def open_job(job: Job) -> list[int]:
    """Begin or continue a job; return the numbers of the parts that are not finished.

    Raises:
        InputError: the output belongs to another job, or cannot be written.
    """
    model = load_files(job.model, 1)
    images = len(job.images.names)
    record = Record(
        images, job.images.sha256(), job.rows, model.name, model.version,
        decisive_sha256(job.model), job.maps,
    )  # fmt: skip
    finished = open_output(job.output, record)
    return [part for part in range(math.ceil(images / job.rows)) if part not in finished]


def score_here(job: Job, parts: Sequence[int], threads: int) -> Iterator[Counts]:
    """Score parts in threads; while one thread has Python's lock, others decode or run the graph.

    Yields:
        numbers of newly scored images, and of errors by code.

    Raises:
        OSError: a part cannot be written.
    """
    scorer = Scorer(load_files(job.model, threads), job.images.root, job.maps)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="score")
    running: deque[tuple[int, Iterator[Row]]] = deque()
    try:
        for part in parts:
            groups = pool.map(scorer.rows, _groups(job.names(part)))
            running.append((part, chain.from_iterable(groups)))
            if len(running) == CONCURRENT_PARTS:
                yield from _finish(job, scorer, *running.popleft())
        while running:
            yield from _finish(job, scorer, *running.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _finish(job: Job, scorer: Scorer, part: int, rows: Iterator[Row]) -> Iterator[Counts]:
    finished = []
    for row in rows:
        finished.append(row)
        yield _counts([row])
    write_part(job.output, part, scorer.table(finished))


def score_on_ray(job: Job, parts: Sequence[int], address: str) -> Iterator[Counts]:
    """Score each part on one core of a Ray cluster; each worker loads the model only once.

    Yields:
        numbers of newly scored images, and of errors by code, after each written part.

    Raises:
        InputError: Ray is not installed, or the cluster does not exist.
    """
    from pneumonia.core.parallel import each

    make = partial(_worker, job.model, job.images.root, job.output, job.maps)
    return each(address, make, ((part, job.names(part)) for part in parts))


def _worker(
    model: ModelFiles, root: str, output: str, maps: bool
) -> Callable[[tuple[int, list[str]]], Counts]:
    scorer = Scorer(load_files(model, 1), root, maps)

    def work(task: tuple[int, list[str]]) -> Counts:
        part, names = task
        rows = [row for group in _groups(names) for row in scorer.rows(group)]
        write_part(output, part, scorer.table(rows))
        return _counts(rows)

    return work


def _groups(names: list[str]) -> list[list[str]]:
    return [names[first : first + GROUP] for first in range(0, len(names), GROUP)]


def _counts(rows: list[Row]) -> Counts:
    return Counter(row.get("error", SCORED) for row in rows)
