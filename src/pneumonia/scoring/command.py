"""`pneumonia score`: many images to a Parquet data set."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from pathlib import Path

from pneumonia.errors import InputError

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

    from pneumonia.scoring.images import is_url, list_images
    from pneumonia.scoring.model import champion, fetch_model
    from pneumonia.scoring.score import Job, close_job, open_job, score_here, score_on_ray
    from pneumonia.serving.cores import cores

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
    from pneumonia.scoring.score import DONE

    done = counts.total()
    errors = sorted((code, count) for code, count in counts.items() if code != DONE)
    lines = [f"{total:,} images" + (f", {before:,} of them from before" if before else "")]
    if done:
        lines[0] += f"; {done:,} in {seconds:.1f} s, {done / seconds:.0f} a second"
    if errors:
        told = ", ".join(f"{count:,} {code}" for code, count in errors)
        lines.append(f"{done - counts[DONE]:,} could not be scored: {told}")
    return lines
