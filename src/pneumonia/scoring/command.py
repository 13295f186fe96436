"""The command `pneumonia score`."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from pathlib import Path

from pneumonia.core.errors import InputError

DESCRIPTION = """Score many images into a Parquet data set, one row an image.

INPUT is a folder of JPEG, PNG and DICOM files, a pattern ("images/**/*.png"),
a table (.csv or .parquet) whose column `file` has names relative to the table,
or the URL of one of these, such as s3://bucket/folder. The row of an image that
cannot be scored has the reason. The same command with the same images and model
continues after an interruption. Not a medical device."""
ROWS = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `pneumonia score`."""
    parser.add_argument("input", metavar="INPUT", help="images, see above")
    parser.add_argument(
        "--output", required=True, metavar="FOLDER", help="folder of the data set, or its URL"
    )
    parser.add_argument(
        "--maps", action="store_true", help="add a column `map`: the class activation map"
    )
    parser.add_argument(
        "--rows", type=int, default=ROWS, metavar="N", help=f"images in a part file ({ROWS})"
    )
    parser.add_argument(
        "--threads", type=int, default=0, metavar="N",
        help="images scored in parallel on this machine (one a core)",
    )  # fmt: skip
    parser.add_argument(
        "--ray", metavar="ADDRESS",
        help="score on a Ray cluster: auto (the one of this machine), HOST:PORT, or local (a new "
        "one for this call)",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Score the images; return 0, also if single images cannot be scored, or 130 after Ctrl-C.

    Raises:
        InputError: images, model or cluster do not exist, or the output belongs to another job.
    """
    for option, least in (("rows", 1), ("threads", 0)):
        if getattr(arguments, option) < least:
            raise InputError(f"--{option}: should be at least {least}")
    # Each core scores images in one thread. NumPy's own threads would compete with these threads.
    # NumPy reads the variable only when it is imported.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from tqdm import tqdm

    from pneumonia.core.parallel import cores
    from pneumonia.inference.bundle import champion, fetch_model
    from pneumonia.scoring.images import is_url, list_images
    from pneumonia.scoring.output import remove_leftovers
    from pneumonia.scoring.score import SCORED, Job, open_job, score_here, score_on_ray

    images = list_images(arguments.input)
    where = arguments.output
    output = where.rstrip("/") if is_url(where) else str(Path(where).absolute())
    model = fetch_model(arguments.model or champion())
    job = Job(images, model, output, arguments.rows, arguments.maps)
    remaining = open_job(job)
    total = len(images.names)
    before = total - sum(len(job.names(part)) for part in remaining)
    counts: Counter[str] = Counter()
    start = time.monotonic()
    try:
        scored = (
            score_on_ray(job, remaining, arguments.ray)
            if arguments.ray
            else score_here(job, remaining, arguments.threads or cores())
        )
        with tqdm(total=total, initial=before, unit="image", smoothing=0.05, disable=None) as bar:
            for new in scored:
                counts += new
                bar.update(new.total())
    except OSError as error:
        # Ray puts a worker's stack trace before the message.
        reason = error.strerror or str(error).strip().rpartition("\n")[2]
        raise InputError(f"--output {where}: {reason}") from None
    except KeyboardInterrupt:
        print("\nscore: interrupted; the same command continues from here", file=sys.stderr)
        return 130  # the status that shells use
    remove_leftovers(output)
    seconds, done, scored_now = time.monotonic() - start, counts.total(), counts.pop(SCORED, 0)
    summary = f"{total:,} images" + (f", {before:,} of them scored before" if before else "")
    if done:
        summary += f"; {done:,} in {seconds:.1f} s, {done / seconds:.0f} a second"
    print(summary)
    if counts:
        reasons = ", ".join(f"{count:,} {code}" for code, count in sorted(counts.items()))
        print(f"{done - scored_now:,} could not be scored: {reasons}")
    return 0
