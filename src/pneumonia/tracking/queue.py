"""DVC's queue of experiments, made good after its worker died.

A worker that is killed takes its experiment along: DVC goes on listing it as running and no later
worker takes it up. Here it is put back into the queue with the same name, params and baseline.
Where the worker alone died and its experiment ran on, the result is waited for and collected.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import subprocess  # nosec B404 # for DVC's own command
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

from pneumonia.errors import InputError

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc.repo.experiments.queue.base import QueueEntry
    from dvc.repo.experiments.queue.celery import LocalCeleryQueue
    from kombu.message import Message

DESCRIPTION = """Run the queued experiments in the background.

Queue some with `dvc exp run --queue`. Experiments that a killed worker left behind begin anew,
under their names; those that ran on without it are collected when they end. `dvc queue status`
lists them, `dvc queue logs NAME` says why one failed, `dvc queue stop` ends the workers."""
PATIENCE = 10.0  # seconds for a busy worker to say what it does


@dataclass(frozen=True)
class Left:
    """An experiment that no worker holds.

    Attributes:
        message: by which it was queued.
        entry: what DVC knows of it.
        info: the file with its folder and its result.
    """

    message: Message
    entry: QueueEntry
    info: str

    @property
    def name(self) -> str:
        """What `dvc queue status` calls it."""
        return str(self.entry.name or self.entry.stash_rev[:7])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `pneumonia queue`."""
    parser.add_argument(
        "--jobs", type=int, default=1, help="experiments at a time, each with all cores (1)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Put lost experiments back, start workers, wait for what ran on without one; 0.

    Raises:
        InputError: no repository of DVC and git, a shallow one, a worker that does not answer, or
            no job.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    if arguments.jobs < 1:
        raise InputError(f"--jobs: should be 1 or more, not {arguments.jobs}")
    try:
        with Repo() as repo:
            _refuse_shallow(repo)
            queue = repo.experiments.celery_queue
            orphans = []
            for left in lost(queue):
                if _processes(left.info):
                    orphans.append(left)
                else:
                    _settle(repo, queue, left)
            waiting = len(list(queue.iter_queued()))
            started = _start_workers(repo, arguments.jobs) if waiting else 0
            print(f"{waiting} queued; workers started: {started}")
            for left in orphans:
                print(f"{left.name}: runs on without its worker; waiting for its end", flush=True)
                while _processes(left.info):
                    time.sleep(1)
                _settle(repo, queue, left)
    except DvcException as error:
        raise InputError(str(error).splitlines()[0]) from None
    return 0


def _start_workers(repo: Repo, jobs: int) -> int:
    """Start workers up to so many; how many were started.

    By DVC's own command with its output in a file: workers keep the output of whoever starts them
    open, and one that waits for its end (a pipe, a program) would wait for theirs.
    """
    command = [sys.executable, "-m", "dvc", "queue", "start", "--jobs", str(jobs)]
    with TemporaryFile("w+", encoding="utf-8") as file:
        subprocess.run(command, cwd=repo.root_dir, stdout=file, stderr=file, check=False)  # nosec B603 # ours
        file.seek(0)
        said = file.read()
    found = re.search(r"Started '(\d+)'", said)
    if not found:
        raise InputError(f"no worker could be started: {' '.join(said.split())}")
    return int(found[1])


def _refuse_shallow(repo: Repo) -> None:
    """Refuse a clone without its whole history: DVC 3.67 runs experiments there and keeps none."""
    import git

    found = git.Repo(repo.root_dir, search_parent_directories=True)
    if found.git.rev_parse("--is-shallow-repository") == "true":
        raise InputError(
            "this clone is shallow, and of one DVC keeps no queued experiment; "
            "`git fetch --unshallow` gets the history"
        )


def lost(queue: LocalCeleryQueue) -> list[Left]:
    """The experiments that were begun, have no result, and are in no living worker's hands.

    Raises:
        InputError: a worker lives and does not say what it does.
    """
    workers = _processes("queue-worker", _node(queue))
    tasks: dict[str, list[dict[str, Any]]] = {}
    if workers:
        tasks = queue.celery.control.inspect(timeout=PATIENCE).active() or {}
        if len(tasks) < len(workers):
            raise InputError(
                f"of {len(workers)} workers {len(tasks)} answer; wait a little, or `dvc queue stop`"
            )
    held = {task["id"] for some in tasks.values() for task in some}
    return [
        Left(found.msg, found.entry, queue.get_infofile_path(found.entry.stash_rev))
        for found in _begun(queue)
        if found.msg.headers["id"] not in held
    ]


def _begun(queue: LocalCeleryQueue) -> Iterator[Any]:
    for found in queue._iter_processed():
        if not queue.celery.AsyncResult(found.msg.headers["id"]).ready():
            yield found


def _settle(repo: Repo, queue: LocalCeleryQueue, left: Left) -> None:
    """Collect an experiment that came to an end, good or bad; queue one that did not again."""
    from dvc.repo.experiments.executor.base import ExecutorInfo, TaskStatus
    from dvc.repo.experiments.executor.local import TempDirExecutor
    from dvc.repo.experiments.queue.tasks import collect_exp

    try:
        info = ExecutorInfo.load_json(left.info)
    except FileNotFoundError:
        info = None  # it died before it had a folder
    folder = TempDirExecutor.from_info(info) if info else None
    if info and (info.result_hash or info.status is TaskStatus.FAILED):
        collect_exp({}, left.entry.asdict())
        queue.celery.backend.mark_as_done(left.message.headers["id"], None)
        print(f"{left.name}: has ended; collected", flush=True)
        if folder:
            folder.cleanup(left.info)
    else:
        # Before a worker can take it up anew and write to the same file.
        if folder:
            folder.cleanup(left.info)
        _queue_again(repo, queue, left)
        print(f"{left.name}: its worker died; queued again", flush=True)


def _queue_again(repo: Repo, queue: LocalCeleryQueue, left: Left) -> None:
    from dvc.repo.experiments.queue.tasks import run_exp

    entry = left.entry
    text = queue.stash.format_message(
        entry.head_rev, baseline_rev=entry.baseline_rev, name=entry.name, branch=entry.branch
    )
    # A worker takes the changed params off git's stash when it begins.
    if entry.stash_rev not in queue.stash.stash_revs:
        repo.scm.set_ref(entry.stash_ref, entry.stash_rev, message=f"commit: {text}")
    arguments, keywords, _ = left.message.decode()
    # First the new message: dying in between, there is one too many, not one too few.
    queue.celery.signature(run_exp.s(*arguments, **keywords)).delay()
    queue.celery.purge(left.message.delivery_tag)
    _end_runs(entry)


def _end_runs(entry: QueueEntry) -> None:
    """Mark the MLflow runs that the dead experiment left open as killed."""
    from pneumonia.tracking import runs, store

    with store.connected():
        runs.end_open_runs(entry.name, entry.baseline_rev)


def _node(queue: LocalCeleryQueue) -> str:
    """What the names of this repository's workers begin with."""
    return f"dvc-exp-{hashlib.sha256(queue.wdir.encode()).hexdigest()[:6]}-"


def _processes(*words: str) -> list[int]:
    """Ids of the processes whose command line has all of these words in it."""
    import psutil

    return [
        process.pid
        for process in psutil.process_iter(["cmdline", "status"])
        if process.info["status"] != psutil.STATUS_ZOMBIE
        and all(word in " ".join(process.info["cmdline"] or ()) for word in words)
    ]
