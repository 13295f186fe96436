"""An unfinished training goes on from its own state, and from no other."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pneumonia.core.errors import InputError
from pneumonia.models.checkpoint import Checkpoint, TrainingState, fingerprint, open_checkpoint

STATE = TrainingState(
    [{"epoch": 0, "val_auc": 0.1 + 0.2}, {"epoch": 1, "val_auc": 1 / 3, "loss": 0.5}],
    [np.arange(6, dtype=np.float32).reshape(2, 3), np.array(7), np.array([2**63], np.uint64)],
)


def saved(folder: Path, key: str = "key") -> Checkpoint:
    folder.mkdir(exist_ok=True)
    checkpoint = Checkpoint(folder, key)
    checkpoint.save(STATE)
    return checkpoint


def test_a_state_comes_back_to_the_bit(tmp_path: Path) -> None:
    found = saved(tmp_path).load()
    assert found is not None
    assert found.history == STATE.history
    for one, other in zip(found.arrays, STATE.arrays, strict=True):
        assert one.dtype == other.dtype
        assert np.array_equal(one, other)


def test_the_state_of_another_training_is_ignored_and_replaced(tmp_path: Path) -> None:
    saved(tmp_path, "other")
    assert Checkpoint(tmp_path, "key").load() is None
    assert saved(tmp_path).load() is not None
    assert Checkpoint(tmp_path, "other").load() is None


def test_without_a_state_there_is_none(tmp_path: Path) -> None:
    assert Checkpoint(tmp_path / "nowhere", "key").load() is None


@pytest.mark.parametrize("damage", ["empty", "text", "half", "a bit"])
def test_a_damaged_state_is_one_line_and_no_state(
    tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = saved(tmp_path)
    content = bytearray(checkpoint.file.read_bytes())
    if damage == "a bit":
        place = content.index(STATE.arrays[0].tobytes())
        content[place + 5] ^= 1
    else:
        content = {"empty": b"", "text": b"not a state", "half": content[: len(content) // 2]}[
            damage
        ]
    checkpoint.file.write_bytes(content)
    assert checkpoint.load() is None
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{checkpoint.file}: damaged, training starts again (")
    assert checkpoint.load() is None
    assert capsys.readouterr().err == ""


def test_whoever_dies_while_writing_leaves_the_former_state(tmp_path: Path) -> None:
    checkpoint = saved(tmp_path)
    checkpoint.file.with_suffix(".writing").write_bytes(checkpoint.file.read_bytes()[:100])
    found = checkpoint.load()
    assert found is not None
    assert found.history == STATE.history


@pytest.mark.parametrize("change", ["settings", "content", "file", "nothing"])
def test_params_data_and_code_name_a_training(tmp_path: Path, change: str) -> None:
    files = [tmp_path / "a.py", tmp_path / "b.py"]
    for file in files:
        file.write_text("code")
    settings = {"rate": 0.1, "data": "d"}
    before = fingerprint(settings, files)
    if change == "settings":
        settings["rate"] = 0.2
    elif change == "content":
        files[1].write_text("other code")
    elif change == "file":
        files.pop()
    assert (fingerprint(settings, reversed(files)) == before) == (change == "nothing")


def test_a_training_begins_says_where_it_goes_on_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "scratch"
    with (
        pytest.raises(RuntimeError, match="stop"),
        open_checkpoint(model, 3, {}, []) as (first, history),
    ):
        assert history == []
        first.save(STATE)
        raise RuntimeError("stop")
    assert capsys.readouterr().out == ""
    with open_checkpoint(model, 3, {}, []) as (_, history):
        assert history == STATE.history
    assert capsys.readouterr().out == "scratch: continuing from epoch 1 of 3\n"
    assert list(tmp_path.iterdir()) == []


HOLD = """
import sys, time
from pathlib import Path
from pneumonia.models.checkpoint import Checkpoint
with Checkpoint(Path(sys.argv[1]), "key").locked():
    print("held", flush=True)
    time.sleep(60)
"""


def test_two_processes_do_not_train_the_same_model(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "checkpoint", "key")
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(checkpoint.folder)],
        stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": "src"},
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert other.stdout is not None
    assert other.stdout.readline() == b"held\n"
    with pytest.raises(InputError, match="another process is training this model"):
        checkpoint.locked().__enter__()
    other.send_signal(signal.SIGKILL)
    other.wait()
    other.stdout.close()
    with checkpoint.locked():
        pass


def test_a_header_of_other_kind_is_damage(tmp_path: Path) -> None:
    checkpoint = saved(tmp_path)
    header = np.frombuffer(json.dumps(["no", "header"]).encode(), np.uint8)
    np.savez(checkpoint.file, header=header)
    assert checkpoint.load() is None
