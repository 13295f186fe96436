"""Errors that a user reads as one line, not as a stack trace: bad input, and a disk that fails."""

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
# By the text of the message, because HDF5 and databases do not pass on the error number.
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
    """Bad input: a file, a param, a data set. The text is for the user, one line a problem."""


def refuse(problems: Collection[str]) -> None:
    """Raise an InputError of these lines, if there are any."""
    if problems:
        raise InputError("\n".join(problems))


def disk_trouble(error: BaseException, place: Path | None = None) -> str:
    """Explain an error in one line if a full or write-protected disk caused it; otherwise "".

    The causes of the error are searched, too. `place` was written, if the error names no file.
    """
    visited: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in visited:
        visited.add(id(cause))
        for text, (problem, remedy) in _REMEDIES.items():
            if re.search(re.escape(text), str(cause), re.IGNORECASE):
                # A copy has two file names; the second is the one written.
                names = (getattr(cause, name, None) for name in ("filename2", "filename"))
                file = next(filter(None, names), place)
                # Without a file: "disk full: ...".
                line = f"{problem} {file}" if file else problem.removesuffix(" while writing")
                return f"{line.removesuffix(' at')}: {remedy}"
        cause = _cause(cause)
    return ""


def _cause(error: BaseException) -> BaseException | None:
    """The exception that led to an error.

    A built-in error that is raised while a disk error is handled is a bug in the handler and does
    not count, except OSError and RuntimeError (h5py raises the latter).
    """
    if error.__cause__ or error.__suppress_context__:
        return error.__cause__
    builtin = type(error).__module__ == "builtins"
    return error.__context__ if isinstance(error, (OSError, RuntimeError)) or not builtin else None


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Turn the error of a full or write-protected disk within the block into an InputError."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        # Each library has its own type: OSError, h5py's, Pillow's, pandas', a worker's.
        line = disk_trouble(error, place)
        if not line:
            raise
        raise InputError(line) from None
