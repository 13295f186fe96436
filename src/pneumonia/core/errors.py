"""Errors that a user reads as one line, not as a stack trace: bad input and disk errors."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

AGAIN = "run the same command again"
_FULL = f"free some space and {AGAIN}"
_CLOSED = f"give this user the permission and {AGAIN}"
# The keys are error texts, because HDF5 and databases do not pass on the error number.
_REMEDIES = {
    os.strerror(errno.ENOSPC): ("disk full while writing", _FULL),
    os.strerror(errno.EDQUOT): ("disk quota used up while writing", _FULL),
    os.strerror(errno.EFBIG): ("file too large while writing", f"raise `ulimit -f` and {AGAIN}"),
    "database or disk is full": ("disk full while writing", _FULL),
    os.strerror(errno.EROFS): ("read-only disk at", f"mount it for writing and {AGAIN}"),
    os.strerror(errno.EACCES): ("permission denied at", _CLOSED),
    os.strerror(errno.EPERM): ("not permitted at", _CLOSED),
    "attempt to write a readonly database": ("read-only database at", _CLOSED),
}


class InputError(Exception):
    """A bad file, param or data set. The message is for the user and has one line per problem."""


def refuse(problems: Collection[str]) -> None:
    """Raise an InputError with these lines, if there are any."""
    if problems:
        raise InputError("\n".join(problems))


def disk_trouble(error: BaseException, place: Path | None = None) -> str:
    """Explain in one line an error that a full or write-protected disk caused; otherwise "".

    The causes of the error are searched, too. If the error names no file, the line names `place`.
    """
    visited: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in visited:
        visited.add(id(cause))
        for text, (problem, remedy) in _REMEDIES.items():
            if re.search(re.escape(text), str(cause), re.IGNORECASE):
                # The error of a copy has two file names; the program was writing the second.
                names = (getattr(cause, name, None) for name in ("filename2", "filename"))
                file = next(filter(None, names), place)
                # If no file is known, the line is "disk full: ...".
                line = f"{problem} {file}" if file else problem.removesuffix(" while writing")
                return f"{line.removesuffix(' at')}: {remedy}"
        cause = _cause(cause)
    return ""


def _cause(error: BaseException) -> BaseException | None:
    """The exception that led to an error.

    If the handling of a disk error raises another built-in error, the handler has a bug. Then the
    disk error does not count as the cause, except of an OSError or a RuntimeError (from h5py).
    """
    if error.__cause__ or error.__suppress_context__:
        return error.__cause__
    builtin = type(error).__module__ == "builtins"
    return error.__context__ if isinstance(error, (OSError, RuntimeError)) or not builtin else None


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Turn an error of a full or write-protected disk, raised in the block, into an InputError."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        # Each library raises its own type of error: h5py, Pillow, pandas, the workers.
        line = disk_trouble(error, place)
        if not line:
            raise
        raise InputError(line) from None
