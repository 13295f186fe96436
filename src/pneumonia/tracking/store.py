"""The MLflow store: its address, the connection to it, and one-line messages for its errors.

A repository has one store, even if DVC runs stages in a temporary copy. `dvc exp run --queue` and
`--temp` use folders below .dvc/tmp. DVC removes these later, so a store there would be lost.
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
# MLflow's error codes for a store that gives no answer or a wrong answer.
_UNAVAILABLE = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "DATA_LOSS")
# MLflow's error codes for a user without access or permission.
_REFUSED = {
    "UNAUTHENTICATED": "the server does not let user {user!r} in; set MLFLOW_TRACKING_USERNAME and "
    "MLFLOW_TRACKING_PASSWORD",
    "PERMISSION_DENIED": "user {user!r} may not do this; ask who runs the server for the "
    "permission",
}
_DAMAGED = (
    "the database is damaged; move it away, and `make register` fills a new one from what DVC has"
)
# The keys are words in the error texts of SQLite and the HTTP library.
_REMEDIES = {
    "database is locked": "another process holds the database; wait for its end, or stop it "
    "(`fuser` shows which one)",
    "database disk image is malformed": _DAMAGED,
    "file is not a database": _DAMAGED,
    "Max retries exceeded": "no server answers there; start it, or name another one",
}
P = ParamSpec("P")


def repository() -> Path:
    """The folder in which relative paths of the store and its artifacts begin.

    DVC gives each stage the path of the repository; in a temporary copy, this is the original
    repository. Without DVC the folder is the current folder.
    """
    return Path(os.environ.get("DVC_ROOT") or Path.cwd())


def uri() -> str:
    """The value of `MLFLOW_TRACKING_URI`, with an absolute path if it is SQLite; else mlflow.db."""
    address = os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT
    file = address.removeprefix(_SQLITE)
    if file == address or file.startswith(("/", ":memory:")):
        return address
    return f"{_SQLITE}{repository() / file}"


def connect() -> None:
    """Connect MLflow to the store, choose the experiment of all runs, and reduce MLflow's log.

    Raises:
        InputError: the store does not answer.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # Wait half a minute for a server that does not answer; MLflow's default is four minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "4")
    os.environ["MLFLOW_TRACKING_URI"] = uri()
    # `mlflow run` opens a run and sets its id here; both trainings would write into this run.
    os.environ.pop("MLFLOW_RUN_ID", None)
    import mlflow
    from filelock import FileLock

    quieten_logging()
    try:
        file = Path(os.environ["MLFLOW_TRACKING_URI"].removeprefix(_SQLITE))
        with contextlib.ExitStack() as stack:
            # A new store remembers the current folder and puts all artifacts there. So create a
            # SQLite store in the folder of its file. This clone may be deleted before the store
            # (`mlflow run` of a git URI).
            stack.enter_context(
                contextlib.chdir(file.parent if file.is_absolute() else repository())
            )
            if file.is_absolute():
                # If two processes create the tables of a new file at once, MLflow 3.17 fails in
                # one of them; two queued experiments do this. So use a lock.
                stack.enter_context(FileLock(f"{file}.lock"))
                if not file.exists():
                    _create(file)
            mlflow.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT))
    except Exception as error:
        # Each kind of store has its own exceptions: files, SQL, HTTP.
        raise InputError(describe_error(error)) from None


def quieten_logging() -> None:
    """Let MLflow, and alembic, which changes its database, log only warnings and errors."""
    import mlflow  # noqa: F401  the import sets the levels, so it must come first

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # This logger prints a whole traceback, but we report the same error in one line.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


def _create(file: Path) -> None:
    """Create a database completely or not at all: MLflow cannot use a half-created database."""
    from mlflow import MlflowClient

    new = file.with_name(f"{file.name}.writing")
    for former in new.parent.glob(f"{new.name}*"):
        former.unlink()  # the file and its journals
    MlflowClient(f"{_SQLITE}{new}").search_experiments()
    new.rename(file)


@contextmanager
def connected() -> Iterator[None]:
    """Connect to the store, and report the store's errors that occur in the block.

    Raises:
        InputError: for the same reasons as in `connect` and `reporting_errors`.
    """
    connect()
    with reporting_errors():
        yield


@contextmanager
def reporting_errors() -> Iterator[None]:
    """Turn an error of a store that fails, or refuses to write, into one line.

    Raises:
        InputError: the store had an error. The user can safely repeat the command, because runs
            and versions are found by their content.
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
        # Any other error code means a bug in this code; the error keeps its traceback.
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
    """Describe an error of the store in one line that begins with the store's address."""
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
    """Make the exception for a `--model` that could not be loaded from the store."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return InputError(f"--model {model}: {describe_error(error) if is_refused(error) else reason}")


def retry_on_conflict(call: Callable[P, object], *arguments: P.args, **keywords: P.kwargs) -> None:
    """Write a tag, alias or data set; try again if another process wrote it at the same time.

    MLflow looks for the row and then inserts it. If two processes insert the row at once, the
    database refuses one process; the second attempt of this process finds the row.
    """
    from mlflow.exceptions import MlflowException

    try:
        call(*arguments, **keywords)
    except MlflowException as error:
        # SQLite: "UNIQUE constraint failed"; PostgreSQL: "violates unique constraint".
        if "unique" not in str(error).lower():
            raise
        call(*arguments, **keywords)
