"""`pneumonia repair`: damaged outputs and cached files are moved away, and no others."""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
from pathlib import Path

import pytest
import yaml

from pneumonia import repair
from pneumonia.cli import main
from pneumonia.core.errors import InputError


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def repository(folder: Path, contents: dict[str, bytes], outs: list[dict[str, str]]) -> Path:
    """Make a DVC repository with these files as outputs and in the cache; the cache's folder."""
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


def read_all(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and ".git" not in path.parts)
    contents = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
    return {name: content for name, content in contents.items() if ".dvc/tmp/" not in name}


def test_only_damaged_outputs_and_cached_files_are_moved(
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
    (tmp_path / "outside").write_bytes(b"not an output here")
    (cache / "ab").mkdir(exist_ok=True)
    (cache / "ab" / ".x3.tmp").write_bytes(b"a copy that dvc is making")
    before = read_all(tmp_path)
    assert main(["repair"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "lost: not checked, the list of its files is not in DVC's cache",
        "0 files moved; `make repro` makes again what is missing",
    ]
    digest = md5(contents["graph"])
    damaged = [Path("data/a.png"), Path("graph"), cache / digest[:2] / digest[2:]]
    for path in damaged:
        path.write_bytes(b"?")
    assert main(["repair"]) == 0
    _, *lines, last = capsys.readouterr().out.splitlines()
    assert last.startswith("3 files moved")
    moved = [line.partition(":")[0] for line in lines]
    assert sorted(moved) == [
        f"build/damaged/cache/{digest[:2]}/{digest[2:]}",
        "build/damaged/data/a.png", "build/damaged/graph",
    ]  # fmt: skip
    assert {Path(name).read_bytes() for name in moved} == {b"?"}
    gone = {path.resolve().relative_to(tmp_path).as_posix() for path in map(Path.absolute, damaged)}
    after = {k: v for k, v in read_all(tmp_path).items() if "build/damaged" not in k}
    assert after == {name: content for name, content in before.items() if name not in gone}


def test_nothing_is_moved_while_dvc_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dvc.repo import Repo

    repository(tmp_path, {"graph": b"1"}, [{"path": "graph", "md5": md5(b"0")}])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dvc.lock.DEFAULT_TIMEOUT", 0.1)
    with Repo().lock, pytest.raises(InputError, match="another `dvc` is running"):
        repair.run(argparse.Namespace())
    assert Path("graph").exists()


@pytest.mark.parametrize("content", ["", "[]", "stages: 1", "stages: {train: {outs: [{}]}}", "{"])
def test_a_missing_or_wrong_lock_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(InputError, match=r"dvc\.lock: no such file"):
        repair.locked_outputs(tmp_path / "dvc.lock")
    (tmp_path / "dvc.lock").write_text(content)
    with pytest.raises(InputError, match=r"dvc\.lock: not a dvc.lock"):
        repair.locked_outputs(tmp_path / "dvc.lock")
