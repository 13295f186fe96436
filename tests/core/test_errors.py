"""A full or write-protected disk gives one line with a remedy; a bug keeps its stack trace."""

from __future__ import annotations

import errno
import os
import sqlite3
import sys
from pathlib import Path

import pytest

from pneumonia.core.config import Params
from pneumonia.core.errors import InputError, disk_trouble, writing
from pneumonia.core.files import replaced
from pneumonia.core.stage import run

ROOT = Path(__file__).parents[2]


def of(number: int, *file: str | None) -> OSError:
    return OSError(number, os.strerror(number), *file)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (of(errno.ENOSPC, "a/b"), "disk full while writing a/b: free some space"),
        (of(errno.ENOSPC), "disk full while writing reports: free some space"),
        (of(errno.ENOSPC, "from", None, "to"), "disk full while writing to: free some space"),
        (of(errno.EROFS), "read-only disk at reports: mount it"),
        (of(errno.EACCES), "permission denied at reports: give this user the permission"),
        # HDF5, and MLflow over SQLite, pass on the text alone.
        (RuntimeError("Can't write (errno = 28, 'No space left on device')"), "disk full while"),
        (sqlite3.OperationalError("database or disk is full"), "disk full while"),
    ],
)
def test_an_error_of_the_disk_is_one_line_with_a_remedy(error: Exception, said: str) -> None:
    with pytest.raises(InputError) as caught, writing(Path("reports")):
        raise error
    assert str(caught.value).startswith(said)
    assert len(str(caught.value).splitlines()) == 1


def test_an_error_that_a_full_disk_led_to_is_reported_as_a_full_disk() -> None:
    later = RuntimeError("could not close")
    later.__context__ = of(errno.ENOSPC, "a")
    assert disk_trouble(later).startswith("disk full while writing a")
    assert disk_trouble(ValueError("no disk")) == ""


def test_a_bug_in_the_handler_of_a_full_disk_keeps_its_trace() -> None:
    for later in (KeyError("bug"), RuntimeError("meant")):
        later.__context__ = of(errno.ENOSPC, "a")
        later.__suppress_context__ = isinstance(later, RuntimeError)  # raised `from None`
        assert disk_trouble(later) == ""


def test_other_errors_pass() -> None:
    with pytest.raises(ZeroDivisionError), writing(Path("reports")):
        raise ZeroDivisionError
    with pytest.raises(InputError, match=r"^as it was$"), writing(Path("reports")):
        raise InputError("as it was")


def test_a_full_disk_ends_a_stage_with_a_line_and_keeps_its_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/former").touch()

    def fill(_: Params) -> None:
        with replaced(tmp_path / "out") as folder:
            (folder / "new").touch()
            raise of(errno.ENOSPC)

    monkeypatch.setattr(sys, "argv", ["any", "--params", str(ROOT / "params.yaml")])
    for main, where in ((fill, f" while writing {tmp_path / 'out'}"), (_fail, "")):
        with pytest.raises(SystemExit) as ended:
            run("evaluate", None, main)
        assert ended.value.code == 1
        assert capsys.readouterr().err.startswith(f"evaluate: disk full{where}: free some space")
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "former"]


def _fail(_: Params) -> None:
    raise of(errno.ENOSPC)
