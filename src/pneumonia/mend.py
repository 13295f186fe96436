"""Throw damaged outputs out, so that `dvc repro` makes them anew.

DVC takes a file of its cache for what its name says, and an output that it put there for what
dvc.lock says: a byte that the disk changed comes back with every checkout, and even after a stage
has run again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import yaml

from pneumonia.errors import InputError

DESCRIPTION = """\
Remove outputs that are not as dvc.lock has them, and files of DVC's cache that are not as their
names say. `dvc repro` makes again what is missing. Reads all of the cache; changes nothing else.
"""
CACHE = Path(".dvc/cache/files/md5")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None but --help."""


def run(_: argparse.Namespace) -> int:
    """Remove what is damaged, a line each; the exit status.

    Raises:
        InputError: no dvc.lock here.
    """
    damaged = [*damaged_outputs(Path("dvc.lock"), CACHE), *damaged_cache(CACHE)]
    for path in damaged:
        path.unlink()
        print(f"{path}: damaged, removed")
    print(f"{len(damaged)} files removed; `make repro` makes anew what is missing")
    return 0


def damaged_outputs(lock: Path, cache: Path) -> list[Path]:
    """Outputs whose MD5 is not that in dvc.lock; of folders, the files in them.

    Raises:
        InputError: no such lock.
    """
    try:
        stages = yaml.safe_load(lock.read_text(encoding="utf-8"))["stages"]
    except FileNotFoundError:
        raise InputError(f"{lock}: no such file; run from the root, after `make repro`") from None
    outputs = (out for stage in stages.values() for out in stage.get("outs", ()))
    listed = ((lock.parent / out["path"], out["md5"]) for out in outputs)
    files = (file for path, md5 in listed for file in _files(path, md5, cache))
    return [path for path, md5 in files if path.is_file() and _md5(path) != md5]


def damaged_cache(cache: Path) -> list[Path]:
    """Files of DVC's cache that do not have the MD5 that names them."""
    files = (file for file in sorted(cache.glob("??/*")) if file.is_file())
    return [file for file in files if _md5(file) != file.parent.name + file.name.split(".")[0]]


def _files(path: Path, md5: str, cache: Path) -> Iterator[tuple[Path, str]]:
    """An output's files with their MD5; of a folder whose list is damaged, none."""
    if not md5.endswith(".dir"):
        yield path, md5
        return
    index = cache / md5[:2] / md5[2:]
    if index.is_file() and _md5(index) == md5.removesuffix(".dir"):
        for entry in json.loads(index.read_text(encoding="utf-8")):
            yield path / entry["relpath"], entry["md5"]


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
