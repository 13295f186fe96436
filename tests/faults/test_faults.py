"""The list of faults, and the keys that say whether a stored result is still valid."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import __main__ as command
from tests.faults.workspace import STAGES, Fault, Outcome, SkippedError, Workspace, find_line, flip


def make_fault(name: str, inject: object) -> Fault:
    return Fault(name, "something", inject)  # type: ignore[arg-type]


def test_names_of_faults_are_unique_and_every_stage_has_a_full_disk() -> None:
    names = [fault.name for fault in command.FAULTS]
    assert len(set(names)) == len(names)
    assert {f"disk full: {stage}" for stage in STAGES} < set(names)
    assert [fault.name for fault in command.chosen("disk*evaluate")] == ["disk full: evaluate"]
    assert command.chosen("") == command.FAULTS
    assert not command.chosen("no such fault")


def test_a_key_depends_on_fault_and_code() -> None:
    keys = {command.key(fault, tree) for fault in command.FAULTS for tree in ("one", "other")}
    assert len(keys) == 2 * len(command.FAULTS)


@pytest.mark.parametrize(
    ("error", "result"), [(None, "held"), (SkippedError, "skipped"), (AssertionError, "failed"),
                          (OSError, "failed")],
)  # fmt: skip
def test_the_result_of_a_fault(error: type[Exception] | None, result: str) -> None:
    def inject(_: Workspace) -> Outcome:
        if error:
            raise error("reason")
        return Outcome("a line", "runs evaluate")

    stored = command.inject(make_fault("any", inject), Workspace(Path("nowhere")))
    assert stored["result"] == result
    assert ("reason" in stored["message"]) == bool(error)
    row = command.table({"any": stored}).splitlines()[-1]
    assert row.endswith(f"| {result} |")


def test_find_line_rejects_a_stack_trace() -> None:
    assert find_line("one\nprepare: disk full\n", "^prepare: disk") == "prepare: disk full"
    with pytest.raises(AssertionError, match="no line says"):
        find_line("one", "two")
    with pytest.raises(AssertionError, match="a stack trace"):
        find_line("Traceback (most recent call last)\nprepare: disk full", "disk full")


def test_flip_changes_one_byte_and_keeps_the_mode(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(10))
    file.chmod(0o444)
    flip(file)
    assert sum(byte != 0 for byte in file.read_bytes()) == 1
    assert file.stat().st_mode & 0o777 == 0o444
