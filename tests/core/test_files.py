"""A training's files are compared with their recorded checksums; damaged ones are moved away."""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
from pathlib import Path

import pytest
import yaml

from pneumonia import repair
from pneumonia.core.errors import InputError
from pneumonia.core.files import hashes, read_checked


def trained(folder: Path) -> Path:
    graph = folder / "graph.onnx"
    graph.write_bytes(b"graph")
    (folder / "training.json").write_text(json.dumps({"sha256": hashes([graph])}))
    return graph


def test_an_intact_file_is_read(tmp_path: Path) -> None:
    assert read_checked(trained(tmp_path)) == b"graph"


def test_a_changed_byte_is_refused_in_a_line_that_names_the_remedy(tmp_path: Path) -> None:
    graph = trained(tmp_path)
    graph.write_bytes(b"grapH")
    with pytest.raises(InputError) as caught:
        read_checked(graph)
    assert str(caught.value).startswith(f"{graph}: damaged, its SHA-256 is not the recorded one")
    assert "`make repair`" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_file_in_a_folder_without_a_record_is_read(tmp_path: Path) -> None:
    (tmp_path / "graph.onnx").write_bytes(b"graph")
    assert read_checked(tmp_path / "graph.onnx") == b"graph"


@pytest.mark.parametrize("record", ["{}", '{"sha256": {"other.onnx": ""}}'])
def test_a_file_that_the_record_does_not_name_is_refused(tmp_path: Path, record: str) -> None:
    (tmp_path / "graph.onnx").write_bytes(b"graph")
    (tmp_path / "training.json").write_text(record)
    with pytest.raises(InputError, match="its SHA-256 is not the recorded one"):
        read_checked(tmp_path / "graph.onnx")


def test_a_given_checksum_is_compared_with_or_without_a_record(tmp_path: Path) -> None:
    graph = tmp_path / "graph.onnx"
    graph.write_bytes(b"graph")
    assert read_checked(graph, hashlib.sha256(b"graph").hexdigest()) == b"graph"
    with pytest.raises(InputError, match="not the recorded one; fetch it again"):
        read_checked(graph, "0" * 64, "fetch it again")


@pytest.mark.parametrize("content", ["", "{", "[]", "\0"])
def test_a_damaged_record_is_refused(tmp_path: Path, content: str) -> None:
    graph = trained(tmp_path)
    (tmp_path / "training.json").write_text(content)
    with pytest.raises(InputError, match=r"training\.json: damaged; `make repair`"):
        read_checked(graph)


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def repository(folder: Path, contents: dict[str, bytes], outs: list[dict[str, str]]) -> Path:
    """A repository of DVC whose outputs and cache have these files; the cache's folder."""
    for command in (["git", "init", "--quiet"], ["dvc", "init", "--quiet"]):
        subprocess.run(command, cwd=folder, check=True)
    cache = folder / ".dvc/cache/files/md5"
    for name, content in contents.items():
        digest, _, suffix = f"{md5(content)} {name if name == '.dir' else ''}".partition(" ")
        place = cache / digest[:2] / (digest[2:] + suffix)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        if not suffix:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)
    (folder / "dvc.lock").write_text(yaml.safe_dump({"stages": {"train": {"outs": outs}}}))
    return cache


def found(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and ".git" not in path.parts)
    told = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
    return {name: content for name, content in told.items() if ".dvc/tmp/" not in name}


def test_damaged_outputs_and_cached_files_are_put_aside_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    contents = {"graph": b"1", "weights": b"2", "data/a.png": b"3", "data/b.png": b"4"}
    inside = [name for name in contents if name.startswith("data/")]
    index = json.dumps(
        [{"md5": md5(contents[name]), "relpath": name.removeprefix("data/")} for name in inside]
    ).encode()
    outs = [{"path": name, "md5": md5(contents[name])} for name in ("graph", "weights")]
    outs.append({"path": "data", "md5": f"{md5(index)}.dir"})
    outs.append({"path": "lost", "md5": f"{'0' * 32}.dir"})
    outs.append({"path": "../outside", "md5": md5(b"outside")})
    (tmp_path / "clone").mkdir()
    cache = repository(tmp_path / "clone", contents | {".dir": index}, outs)
    monkeypatch.chdir(tmp_path / "clone")
    (tmp_path / "outside").write_bytes(b"of somebody else")
    (cache / "ab").mkdir(exist_ok=True)
    (cache / "ab" / ".x3.tmp").write_bytes(b"that dvc is just copying")
    before = found(tmp_path)
    assert repair.run(argparse.Namespace()) == 0
    assert capsys.readouterr().out.splitlines() == [
        "lost: not looked at, the list of its files is not in DVC's cache",
        "0 files moved; `make repro` makes anew what is missing",
    ]
    digest = md5(contents["graph"])
    damaged = [Path("data/a.png"), Path("graph"), cache / digest[:2] / digest[2:]]
    for path in damaged:
        path.write_bytes(b"?")
    assert repair.run(argparse.Namespace()) == 0
    _, *lines, last = capsys.readouterr().out.splitlines()
    assert last.startswith("3 files moved")
    aside = [line.partition(":")[0] for line in lines]
    assert sorted(aside) == [
        f"build/damaged/cache/{digest[:2]}/{digest[2:]}",
        "build/damaged/data/a.png", "build/damaged/graph",
    ]  # fmt: skip
    assert {Path(name).read_bytes() for name in aside} == {b"?"}
    gone = {path.resolve().relative_to(tmp_path).as_posix() for path in map(Path.absolute, damaged)}
    after = {k: v for k, v in found(tmp_path).items() if "build/damaged" not in k}
    assert after == {name: content for name, content in before.items() if name not in gone}


def test_nothing_is_put_aside_while_dvc_is_at_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dvc.repo import Repo

    repository(tmp_path, {"graph": b"1"}, [{"path": "graph", "md5": md5(b"0")}])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dvc.lock.DEFAULT_TIMEOUT", 0.1)
    with Repo().lock, pytest.raises(InputError, match="another `dvc` is at work"):
        repair.run(argparse.Namespace())
    assert Path("graph").exists()


@pytest.mark.parametrize("content", ["", "[]", "stages: 1", "stages: {train: {outs: [{}]}}", "{"])
def test_a_lock_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(InputError, match=r"dvc\.lock: no such file"):
        repair.locked_outputs(tmp_path / "dvc.lock")
    (tmp_path / "dvc.lock").write_text(content)
    with pytest.raises(InputError, match=r"dvc\.lock: not a lock of DVC"):
        repair.locked_outputs(tmp_path / "dvc.lock")
