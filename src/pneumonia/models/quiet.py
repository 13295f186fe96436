"""The first import of TensorFlow, without what it says to nobody in particular."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """Send the file descriptor of standard error nowhere.

    TensorFlow greets from C++ before any of its log settings count; an error that stops the import
    is a Python exception and still comes through.
    """
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
