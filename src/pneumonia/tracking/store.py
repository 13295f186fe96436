"""The MLflow store: its address, the connection to it, and its errors in one line each.

A repository has one store, also where DVC runs stages in a temporary copy: `dvc exp run --queue`
and `--temp` use folders below .dvc/tmp that DVC removes afterwards, with any store in them.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ParamSpec

from pneumonia.core.errors import AGAIN, InputError, disk_trouble

EXPERIMENT = "pneumonia"
DEFAULT = "sqlite:///mlflow.db"
_SQLITE = "sqlite:///"
# MLflow's codes for a store that does not answer, or gives a wrong answer.
_UNAVAILABLE = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "DATA_LOSS")
# MLflow's codes for a user without access or permission.
_REFUSED = {
    "UNAUTHENTICATED": "the server does not let user {user!r} in; set MLFLOW_TRACKING_USERNAME and "
    "MLFLOW_TRACKING_PASSWORD",
    "PERMISSION_DENIED": "user {user!r} may not do this; ask who runs the server for the "
    "permission",
}
_DAMAGED = (
    "the database is damaged; move it away, and `make register` fills a new one from what DVC has"
)
# By words in an error's text, from SQLite and from the HTTP library.
_REMEDIES = {
    "database is locked": "another process holds the database; wait for its end, or stop it "
    "(`fuser` shows which one)",
    "database disk image is malformed": _DAMAGED,
    "file is not a database": _DAMAGED,
    "Max retries exceeded": "no server answers there; start it, or name another one",
}
P = ParamSpec("P")


def repository() -> Path:
    """The folder to which relative paths of the store and its artifacts refer.

    DVC passes the repository to each stage, in a temporary copy the original one; without DVC it is
    the current folder.
    """
    return Path(os.environ.get("DVC_ROOT") or Path.cwd())


def uri() -> str:
    """`MLFLOW_TRACKING_URI` with an absolute path of a SQLite file; default: mlflow.db."""
    address = os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT
    file = address.removeprefix(_SQLITE)
    if file == address or file.startswith(("/", ":memory:")):
        return address
    return f"{_SQLITE}{repository() / file}"


def connect() -> None:
    """Point MLflow at the store and at the experiment of all runs, and quieten its log.

    Raises:
        InputError: the store does not answer.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # Wait half a minute for a server that does not answer; MLflow's default is four minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "4")
    os.environ["MLFLOW_TRACKING_URI"] = uri()
    # `mlflow run` opens a run and passes its id on; both trainings would write into that one.
    os.environ.pop("MLFLOW_RUN_ID", None)
    import mlflow
    from filelock import FileLock

    quieten_logging()
    try:
        file = Path(os.environ["MLFLOW_TRACKING_URI"].removeprefix(_SQLITE))
        with contextlib.ExitStack() as stack:
            # A new store records the current folder, and keeps all artifacts there. So create a
            # SQLite store from the folder of its file, which may outlast this clone (`mlflow run`
            # of a git URI).
            stack.enter_context(
                contextlib.chdir(file.parent if file.is_absolute() else repository())
            )
            if file.is_absolute():
                # MLflow 3.17 creates the tables of a new file without regard to another process
                # that does the same: one of two queued experiments would fail.
                stack.enter_context(FileLock(f"{file}.lock"))
                if not file.exists():
                    _create(file)
            mlflow.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT))
    except Exception as error:
        # Each kind of store has its own exceptions: files, SQL, HTTP.
        raise InputError(describe_error(error)) from None


def quieten_logging() -> None:
    """Let MLflow and the migrations of its database log warnings only."""
    import mlflow  # noqa: F401  which sets their levels once, when it is imported

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # It logs a whole traceback for an exception that is reported in one line anyway.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


def _create(file: Path) -> None:
    """Create a database atomically: MLflow fails on one whose creation was killed."""
    from mlflow import MlflowClient

    new = file.with_name(f"{file.name}.writing")
    for former in new.parent.glob(f"{new.name}*"):
        former.unlink()  # with its journals
    MlflowClient(f"{_SQLITE}{new}").search_experiments()
    new.rename(file)


@contextmanager
def connected() -> Iterator[None]:
    """Connect, and report errors of the store within the block.

    Raises:
        InputError: as of `connect` and `reporting_errors`.
    """
    connect()
    with reporting_errors():
        yield


@contextmanager
def reporting_errors() -> Iterator[None]:
    """Turn errors of a store that fails or takes nothing into one line.

    Raises:
        InputError: there was one. To repeat the command is safe: runs and versions are found by
            their content.
    """
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, RequestException, SQLAlchemyError) as error:
        message = describe_error(error)
        if is_refused(error):
            raise InputError(message) from None
        # Any other code of MLflow means a bug in this code, which keeps its traceback.
        unavailable = getattr(error, "error_code", _UNAVAILABLE[0]) in _UNAVAILABLE
        if not unavailable and _DAMAGED not in message:
            raise
        if AGAIN not in message:
            message += f"; {AGAIN} when the store answers, nothing is done twice"
        raise InputError(message) from None


def is_refused(error: Exception) -> bool:
    """Whether the store refuses this user access or permission."""
    return getattr(error, "error_code", "") in _REFUSED


def describe_error(error: Exception) -> str:
    """What is wrong with the store, in one line that begins with its address."""
    import mlflow

    text = str(error)
    reason = disk_trouble(error) or (text.strip().splitlines() or [type(error).__name__])[0]
    if is_refused(error):
        user = os.environ.get("MLFLOW_TRACKING_USERNAME", "")
        reason = _REFUSED[getattr(error, "error_code", "")].format(user=user)
    for words, remedy in _REMEDIES.items():
        if words in text:
            reason = remedy
    return f"MLFLOW_TRACKING_URI: {mlflow.get_tracking_uri()}: {reason}"


def load_error(model: str, error: Exception) -> InputError:
    """The exception for a `--model` that could not be loaded from the store."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return InputError(f"--model {model}: {describe_error(error) if is_refused(error) else reason}")


def retry_on_conflict(call: Callable[P, object], *arguments: P.args, **keywords: P.kwargs) -> None:
    """Write a tag, an alias or a data set, again if another process wrote it at the same time.

    MLflow looks for the row and then inserts it. If two processes insert at once, the database
    refuses one of them; its second attempt finds the row.
    """
    from mlflow.exceptions import MlflowException

    try:
        call(*arguments, **keywords)
    except MlflowException as error:
        # "UNIQUE constraint failed" (SQLite), "violates unique constraint" (PostgreSQL)
        if "unique" not in str(error).lower():
            raise
        call(*arguments, **keywords)
