"""The MLflow store: where it is, and what is said when it is away.

A repository has one, also where DVC runs stages in a temporary copy: `dvc exp run --queue` and
`--temp` use folders below .dvc/tmp that DVC removes afterwards, and a store there would go along.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pneumonia.core.errors import AGAIN, InputError, disk_trouble

EXPERIMENT = "pneumonia"
DEFAULT = "sqlite:///mlflow.db"
_SQLITE = "sqlite:///"
# MLflow's codes for a store that does not answer, or not as it should.
_GONE = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "DATA_LOSS")
# And for a user who is not let in, or may not do what was asked.
_REFUSED = {
    "UNAUTHENTICATED": "the server does not let user {user!r} in; set MLFLOW_TRACKING_USERNAME and "
    "MLFLOW_TRACKING_PASSWORD",
    "PERMISSION_DENIED": "user {user!r} may not do this; ask who runs the server for the "
    "permission",
}
_DAMAGED = (
    "the database is damaged; move it away, and `make register` fills a new one from what DVC has"
)
# By what is in an error's text: SQLite's words, those of the library that speaks HTTP.
_MENDS = {
    "database is locked": "another process holds the database; let it end, or end it (`fuser` tells"
    " which one)",
    "database disk image is malformed": _DAMAGED,
    "file is not a database": _DAMAGED,
    "Max retries exceeded": "no server answers there; start it, or name another one",
}


def repository() -> Path:
    """The folder from which relative paths of the store and its artifacts are meant.

    DVC names the repository to each stage, in a temporary copy the original; elsewhere it is the
    current folder.
    """
    return Path(os.environ.get("DVC_ROOT") or Path.cwd())


def uri() -> str:
    """`MLFLOW_TRACKING_URI`, a SQLite file there made absolute, or mlflow.db in the repository."""
    given = os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT
    file = given.removeprefix(_SQLITE)
    if file == given or file.startswith(("/", ":memory:")):
        return given
    return f"{_SQLITE}{repository() / file}"


def connect() -> None:
    """Point MLflow at the store and at the experiment of all runs, and be quiet.

    Raises:
        InputError: it does not answer.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # Half a minute of patience with a server that is away; MLflow's own is four.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "4")
    os.environ["MLFLOW_TRACKING_URI"] = uri()
    # `mlflow run` has a run of its own and passes it on; both trainings would write into that one.
    os.environ.pop("MLFLOW_RUN_ID", None)
    import mlflow
    from filelock import FileLock

    hush()
    try:
        file = Path(os.environ["MLFLOW_TRACKING_URI"].removeprefix(_SQLITE))
        with contextlib.ExitStack() as stack:
            # A new store takes down the folder that it is made from, and keeps all artifacts there:
            # for a SQLite file the one that it lies in, which may outlast this clone (`mlflow run`
            # of a git URI).
            stack.enter_context(
                contextlib.chdir(file.parent if file.is_absolute() else repository())
            )
            if file.is_absolute():
                # MLflow 3.17 makes the tables of a new file without looking for a second process
                # that does: one of two queued experiments would fail.
                stack.enter_context(FileLock(f"{file}.lock"))
                if not file.exists():
                    _make(file)
            mlflow.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT))
    except Exception as error:
        # Each kind of store has its own exceptions: files, SQL, HTTP.
        raise InputError(trouble(error)) from None


def hush() -> None:
    """Let MLflow and its database's migrations tell of warnings only."""
    import mlflow  # noqa: F401  which sets their levels once, when it is imported

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # It logs the whole trace of what it raises, and that is told in a line.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


def _make(file: Path) -> None:
    """Make a database at once: one whose making was killed has tables that MLflow trips over."""
    from mlflow import MlflowClient

    new = file.with_name(f"{file.name}.writing")
    for former in new.parent.glob(f"{new.name}*"):
        former.unlink()  # with its journals
    MlflowClient(f"{_SQLITE}{new}").search_experiments()
    new.rename(file)


@contextmanager
def connected() -> Iterator[None]:
    """Connect, and say in one line so when the store goes away within the block.

    Raises:
        InputError: it did; repeating is safe, as runs and versions are found by content.
    """
    connect()
    with answering():
        yield


@contextmanager
def answering() -> Iterator[None]:
    """Say in one line so when the store goes away within the block, or takes nothing.

    Raises:
        InputError: it did.
    """
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, RequestException, SQLAlchemyError) as error:
        if refused(error):
            raise InputError(trouble(error)) from None
        damaged = any(words in str(error) for words, told in _MENDS.items() if told is _DAMAGED)
        # What MLflow refuses with any other code is a mistake of ours, and keeps its trace.
        if getattr(error, "error_code", _GONE[0]) not in _GONE and not damaged:
            raise
        told = trouble(error)
        again = f"{AGAIN} when the store answers, nothing is done twice"
        raise InputError(told if AGAIN in told else f"{told}; {again}") from None


def refused(error: Exception) -> bool:
    """Whether the store does not let this user in, or does not let them do this."""
    return getattr(error, "error_code", "") in _REFUSED


def trouble(error: Exception) -> str:
    """What is wrong with the store, in one line that begins with its address."""
    import mlflow

    said = str(error)
    reason = disk_trouble(error) or (said.strip().splitlines() or [type(error).__name__])[0]
    if refused(error):
        user = os.environ.get("MLFLOW_TRACKING_USERNAME", "")
        reason = _REFUSED[getattr(error, "error_code", "")].format(user=user)
    for words, told in _MENDS.items():
        if words in said:
            reason = told
    return f"MLFLOW_TRACKING_URI: {mlflow.get_tracking_uri()}: {reason}"


def not_loaded(model: str, error: Exception) -> InputError:
    """What to raise where `--model` could not be had from the store."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return InputError(f"--model {model}: {trouble(error) if refused(error) else reason}")
