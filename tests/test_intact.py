"""A training's files are compared with what it wrote of them, and damaged ones are thrown out."""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import pytest
import yaml

from pneumonia import intact, mend
from pneumonia.errors import InputError


def trained(folder: Path) -> Path:
    graph = folder / "graph.onnx"
    graph.write_bytes(b"graph")
    (folder / "training.json").write_text(json.dumps({"sha256": intact.hashes([graph])}))
    return graph


def test_what_was_written_is_read(tmp_path: Path) -> None:
    assert intact.read(trained(tmp_path)) == b"graph"


def test_a_changed_byte_is_refused_in_a_line_that_names_the_mend(tmp_path: Path) -> None:
    graph = trained(tmp_path)
    graph.write_bytes(b"grapH")
    with pytest.raises(InputError) as caught:
        intact.read(graph)
    assert str(caught.value).startswith(f"{graph}: damaged, its SHA-256 is not the recorded one")
    assert "`make mend`" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_what_has_no_record_is_read(tmp_path: Path) -> None:
    (tmp_path / "graph.onnx").write_bytes(b"graph")
    assert intact.read(tmp_path / "graph.onnx") == b"graph"
    # By a version that recorded nothing.
    (tmp_path / "training.json").write_text("{}")
    assert intact.read(tmp_path / "graph.onnx") == b"graph"


@pytest.mark.parametrize("content", ["", "{", "[]", "\0"])
def test_a_damaged_record_is_refused(tmp_path: Path, content: str) -> None:
    graph = trained(tmp_path)
    (tmp_path / "training.json").write_text(content)
    with pytest.raises(InputError, match=r"training\.json: damaged; `make mend`"):
        intact.read(graph)


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def test_damaged_outputs_and_cached_files_are_removed_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"dvc\.lock: no such file"):
        mend.run(argparse.Namespace())
    contents = {"graph": b"1", "weights": b"2", "data/a.png": b"3", "data/b.png": b"4"}
    inside = [name for name in contents if name.startswith("data/")]
    index = json.dumps(
        [{"md5": md5(contents[name]), "relpath": name.removeprefix("data/")} for name in inside]
    ).encode()
    (tmp_path / "data").mkdir()
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    for content, suffix in ((index, ".dir"), *((one, "") for one in contents.values())):
        digest = md5(content)
        (mend.CACHE / digest[:2]).mkdir(parents=True, exist_ok=True)
        (mend.CACHE / digest[:2] / (digest[2:] + suffix)).write_bytes(content)
    outs = [{"path": name, "md5": md5(contents[name])} for name in ("graph", "weights")]
    outs.append({"path": "data", "md5": f"{md5(index)}.dir"})
    Path("dvc.lock").write_text(yaml.safe_dump({"stages": {"train": {"outs": outs}}}))
    before = sorted(path for path in Path().rglob("*") if path.is_file())
    assert mend.run(argparse.Namespace()) == 0
    assert capsys.readouterr().out.startswith("0 files removed")
    digest = md5(contents["graph"])
    damaged = [
        Path("data/a.png"), Path("graph"), mend.CACHE / digest[:2] / digest[2:]
    ]  # fmt: skip
    for path in damaged:
        path.write_bytes(b"?")
    assert mend.run(argparse.Namespace()) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert sorted(lines) == sorted(f"{path}: damaged, removed" for path in damaged)
    assert last.startswith("3 files removed")
    after = sorted(path for path in Path().rglob("*") if path.is_file())
    assert after == sorted(set(before) - set(damaged))
