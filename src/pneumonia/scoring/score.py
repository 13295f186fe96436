"""From an image to its row, and from rows to the table of a part file.

Score many images, on this machine's cores or on those of a Ray cluster.

`pneumonia score`: many images to a Parquet data set.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pneumonia.core.errors import InputError
from pneumonia.images.limits import ImageError
from pneumonia.inference import answers
from pneumonia.inference.answers import image_error
from pneumonia.inference.bundle import Files, decisive_sha256, load_model
from pneumonia.scoring.images import ImageList, read_bytes
from pneumonia.scoring.output import Record, open_output, remove_leftovers, write_part

if TYPE_CHECKING:
    import pyarrow as pa

    from pneumonia.inference.bundle import ModelBundle


Row = dict[str, Any]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Scorer:
    """Scores images, each on one core; several threads may share it.

    Attributes:
        model: what answers.
        root: what the images' names begin at.
        maps: whether the rows have the class activation maps.
    """

    model: ModelBundle
    root: str
    maps: bool = False

    def rows(self, names: Sequence[str]) -> list[Row]:
        """Score some images; whatever is wrong with one is in its row.

        All are read and judged before the graph sees the first: image by image, each step would find
        the core's caches full of the other's.
        """
        images = [_attempt(name, partial(self._open, name)) for name in names]
        return [
            image if isinstance(image, dict) else _attempt(name, partial(self._answer, name, image))
            for name, image in zip(names, images, strict=True)
        ]

    def _open(self, name: str) -> answers.CheckedImage:
        return answers.read_image(self.model, read_bytes(self.root, name))

    def _answer(self, name: str, image: answers.CheckedImage) -> Row:
        predictor = self.model.predictor
        [logit], [heat_map] = predictor.graph.run(image.pixels[None, ..., None], on_one_core=True)
        found = {"file": name} | answers.figures(predictor.read(image.pixels, logit, heat_map))
        found["warnings"] = [one["code"] for one in image.warnings]
        return found | ({"map": heat_map.tolist()} if self.maps else {})

    def table(self, rows: Iterable[Row]) -> pa.Table:
        """Rows with what they have in common; columns and types: `schema`."""
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
    """The columns of the data set.

    Of an image that was scored `error` and `error_message` are null; of another one all of
    `probability`, `label`, `warnings` and `map` are.
    """
    import pyarrow as pa

    columns = [
        pa.field("file", pa.string(), nullable=False),
        pa.field("probability", pa.float64()),  # of pneumonia, calibrated, 0 to 1
        pa.field("label", pa.string()),  # NORMAL or PNEUMONIA, by the threshold
        pa.field("threshold", pa.float64(), nullable=False),
        pa.field("warnings", pa.list_(pa.string())),  # codes of serving.warnings
        pa.field("error", pa.string()),  # a code
        pa.field("error_message", pa.string()),
        pa.field("model", pa.string(), nullable=False),
        pa.field("version", pa.string(), nullable=False),
        pa.field("model_sha256", pa.string(), nullable=False),  # of the graph
    ]
    if maps:
        columns.append(pa.field("map", pa.list_(pa.list_(pa.float32()))))
    return pa.schema(columns)


def _attempt(name: str, step: Callable[[], Result]) -> Result | Row:
    """What a step of an image's scoring gives, or the row that says what was wrong."""
    try:
        return step()
    except ImageError as error:
        told = image_error(error)
        return _failed(name, told["code"], told["message"])
    except FileNotFoundError:
        return _failed(name, "missing_file", "there is no such file")
    except OSError as error:
        return _failed(name, "unreadable_file", error.strerror or type(error).__name__)
    except Exception as error:
        # Storages have exceptions of their own, and one image of millions must not stop all.
        return _failed(name, "unexpected", f"{type(error).__name__}: {error}")


def _failed(name: str, code: str, message: str) -> Row:
    return {"file": name, "error": code, "error_message": message}


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
    from pneumonia.core.parallel import each

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


DESCRIPTION = """Score many images: a row an image, in a Parquet data set.

INPUT is a folder of JPEG, PNG and DICOM files, a pattern ("images/**/*.png"), a table of names (.csv
or .parquet, column `file`, beginning where the table lies), or the URL of one, s3://bucket/folder.
An image that cannot be scored has the reason in its row. Started again with the same images and model,
the command goes on where it was. Not a medical device."""
ROWS = 1000
INTERRUPTED = 130  # as shells say of SIGINT


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `pneumonia score`."""
    parser.add_argument("input", metavar="INPUT")
    parser.add_argument(
        "--output", required=True, metavar="FOLDER", help="of the data set, or its URL"
    )
    parser.add_argument(
        "--model", help="models:/NAME@champion, or a folder; default: the champion of params.yaml"
    )
    parser.add_argument(
        "--maps", action="store_true", help="a column `map` too: the class activation map"
    )
    parser.add_argument(
        "--rows", type=int, default=ROWS, metavar="N", help=f"images a part file ({ROWS})"
    )
    parser.add_argument(
        "--threads",
        type=int,
        default=0,
        metavar="N",
        help="images side by side, on this machine (one a core)",
    )
    parser.add_argument(
        "--ray", metavar="ADDRESS",
        help="score on a Ray cluster: auto (that of this machine), HOST:PORT, or local (one for "
        "this call)",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Score; 0 whatever becomes of single images, 130 if stopped by Ctrl-C.

    Raises:
        InputError: no such images, model or cluster; an output that is of something else.
    """
    for option, least in (("rows", 1), ("threads", 0)):
        if getattr(arguments, option) < least:
            raise InputError(f"--{option}: should be at least {least}")
    # A thread a core scores: NumPy's own threads, which it reads of once, would be in their way.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from tqdm import tqdm

    from pneumonia.core.parallel import cores
    from pneumonia.inference.bundle import champion, fetch_model
    from pneumonia.scoring.images import is_url, list_images

    images = list_images(arguments.input)
    where = arguments.output
    output = where.rstrip("/") if is_url(where) else str(Path(where).absolute())
    model = fetch_model(arguments.model or champion())
    job = Job(images, model, output, arguments.rows, arguments.maps)
    left = open_job(job)
    total = len(images.names)
    before = total - sum(len(job.names(part)) for part in left)
    counts: Counter[str] = Counter()
    begun = time.monotonic()
    try:
        scored = (
            score_on_ray(job, left, arguments.ray)
            if arguments.ray
            else score_here(job, left, arguments.threads or cores())
        )
        with tqdm(total=total, initial=before, unit="image", smoothing=0.05, disable=None) as bar:
            for some in scored:
                counts += some
                bar.update(some.total())
    except OSError as error:
        # Ray puts a worker's trace before its words.
        reason = error.strerror or str(error).strip().rpartition("\n")[2]
        raise InputError(f"--output {where}: {reason}") from None
    except KeyboardInterrupt:
        print("\nscore: stopped; the same command goes on from here", file=sys.stderr)
        return INTERRUPTED
    close_job(job)
    for line in _summary(total, before, counts, time.monotonic() - begun):
        print(line)
    return 0


def _summary(total: int, before: int, counts: Counter[str], seconds: float) -> list[str]:

    done = counts.total()
    errors = sorted((code, count) for code, count in counts.items() if code != DONE)
    lines = [f"{total:,} images" + (f", {before:,} of them from before" if before else "")]
    if done:
        lines[0] += f"; {done:,} in {seconds:.1f} s, {done / seconds:.0f} a second"
    if errors:
        told = ", ".join(f"{count:,} {code}" for code, count in errors)
        lines.append(f"{done - counts[DONE]:,} could not be scored: {told}")
    return lines
