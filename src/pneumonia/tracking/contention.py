"""Writing to a store that other processes write to."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec

P = ParamSpec("P")


def write(call: Callable[P, object], *arguments: P.args, **keywords: P.kwargs) -> None:
    """Write a tag, an alias or a data set that another process may be writing, too.

    MLflow looks for the row and then inserts it. Of two that insert at once the database refuses
    one; its second attempt finds the row.
    """
    from mlflow.exceptions import MlflowException

    try:
        call(*arguments, **keywords)
    except MlflowException as error:
        # "UNIQUE constraint failed" (SQLite), "violates unique constraint" (PostgreSQL)
        if "unique" not in str(error).lower():
            raise
        call(*arguments, **keywords)
