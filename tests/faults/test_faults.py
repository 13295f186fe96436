"""The list of faults, and what decides that a result is still of this tree."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import __main__ as command
from tests.faults.bench import STAGES, Bench, Fault, Outcome, SkippedError, flip, said


def fault(name: str, inject: object) -> Fault:
    return Fault(name, "something", inject)  # type: ignore[arg-type]


def test_every_fault_has_a_name_of_its_own_and_every_stage_its_full_disk() -> None:
    names = [one.name for one in command.FAULTS]
    assert len(set(names)) == len(names)
    assert {f"disk full: {stage}" for stage in STAGES} < set(names)
    assert [one.name for one in command.chosen("disk*evaluate")] == ["disk full: evaluate"]
    assert command.chosen("") == command.FAULTS
    assert not command.chosen("no such fault")


def test_a_result_is_of_a_fault_and_a_tree() -> None:
    keys = {command.key(one, tree) for one in command.FAULTS for tree in ("one", "other")}
    assert len(keys) == 2 * len(command.FAULTS)


@pytest.mark.parametrize(
    ("error", "result"), [(None, "held"), (SkippedError, "skipped"), (AssertionError, "failed"),
                          (OSError, "failed")],
)  # fmt: skip
def test_what_became_of_a_fault(error: type[Exception] | None, result: str) -> None:
    def inject(_: Bench) -> Outcome:
        if error:
            raise error("why")
        return Outcome("a line", "runs evaluate")

    found = command.put(fault("any", inject), Bench(Path("nowhere")))
    assert found["result"] == result
    assert ("why" in found["seen"]) == bool(error)
    row = command.table({"any": found}).splitlines()[-1]
    assert row.endswith(f"| {result} |")


def test_a_line_is_found_and_a_trace_is_a_failure() -> None:
    assert said("one\nprepare: disk full\n", "^prepare: disk") == "prepare: disk full"
    with pytest.raises(AssertionError, match="no line says"):
        said("one", "two")
    with pytest.raises(AssertionError, match="a trace"):
        said("Traceback (most recent call last)\nprepare: disk full", "disk full")


def test_a_flipped_file_differs_in_one_byte(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(10))
    file.chmod(0o444)
    flip(file)
    assert sum(byte != 0 for byte in file.read_bytes()) == 1
    assert file.stat().st_mode & 0o777 == 0o444
