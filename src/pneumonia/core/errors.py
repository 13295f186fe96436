"""What a user is told in a line, not by a stack trace: bad input, a disk that takes nothing."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

AGAIN = "run the same again"
_FULL = f"free some space and {AGAIN}"
_CLOSED = f"give this user the right to it and {AGAIN}"
# By what a system or a library says, as HDF5 and databases do not hand on the number.
_MENDS = {
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
    """Bad input: a file, a param, a data set. Its text is for the user, one line a problem."""


def disk_trouble(error: BaseException, place: Path | None = None) -> str:
    """One line, if a disk that is full or closed to this user is behind an error; else "".

    Args:
        error: or what it came from.
        place: what was being written, where the error does not name a file.
    """
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        for words, (what, mend) in _MENDS.items():
            if re.search(re.escape(words), str(cause), re.IGNORECASE):
                # Of a copy the second one is what was written.
                named = (getattr(cause, name, None) for name in ("filename2", "filename"))
                where = next(filter(None, named), place)
                # Where nobody knows the place: "disk full: ...".
                told = f"{what} {where}" if where else what.removesuffix(" while writing")
                return f"{told.removesuffix(' at')}: {mend}"
        cause = _behind(cause)
    return ""


def _behind(error: BaseException) -> BaseException | None:
    """What an error came from. A bug in what handles a disk's error has not come from the disk."""
    if error.__cause__ or error.__suppress_context__:
        return error.__cause__
    of_python = type(error).__module__ == "builtins"
    known = isinstance(error, (OSError, RuntimeError))  # h5py has the second one
    return error.__context__ if known or not of_python else None


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Say in one line that a disk is full or closed, where that ends the block.

    Raises:
        InputError: it did.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        # Each library has its own for it: OSError, h5py's, Pillow's, pandas', a worker's.
        told = disk_trouble(error, place)
        if not told:
            raise
        raise InputError(told) from None
