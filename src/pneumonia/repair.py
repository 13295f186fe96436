"""The command `pneumonia repair`: move damaged outputs away, so that `dvc repro` makes them again.

A file in DVC's cache has its hash as its name. DVC trusts this name, and trusts dvc.lock for
outputs that are links to the cache. So if a disk damages a byte, the damage returns with every
checkout, even after a stage has run again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from pneumonia.core.errors import InputError, writing

DESCRIPTION = """\
Move outputs that differ from dvc.lock, and files of DVC's cache that differ
from the hash in their name, to build/damaged: damaged files, but also what you
changed by hand or did not commit. `dvc repro` makes again what is missing.
Reads all outputs and the whole cache; deletes nothing.
"""
DAMAGED = Path("build/damaged")
# Name of a file in the cache: the hash without its first two digits, which name the folder.
_CACHED = re.compile(r"[0-9a-f]{30}(\.dir)?")


def run(_: argparse.Namespace) -> int:
    """Move damaged files away, print one line for each file, and return 0.

    Raises:
        InputError: this folder has no DVC repository or no dvc.lock; another process uses the
            repository; or a file cannot be read or moved.
    """
    from dvc.exceptions import DvcException
    from dvc.lock import LockError
    from dvc.repo import Repo

    outputs = locked_outputs(Path("dvc.lock"))
    try:
        repo = Repo()
        # Take the lock of `dvc repro`, because an output that is being written is not damaged.
        with repo.lock, writing(DAMAGED):
            cache = Path(repo.cache.local.path)
            moves = [(path, DAMAGED / path) for path in damaged_outputs(outputs, cache)]
            for path in damaged_cache(cache):
                moves.append((path, DAMAGED / "cache" / path.relative_to(cache)))
            for path, target in moves:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(path, target)
                print(f"{target}: has changed since it was written")
    except LockError:
        raise InputError("another `dvc` is running here; wait until it ends") from None
    except DvcException as error:
        raise InputError(f"DVC: {' '.join(str(error).split())}") from None
    print(f"{len(moves)} files moved; `make repro` makes again what is missing")
    return 0


def locked_outputs(lock: Path) -> list[tuple[Path, str]]:
    """List the outputs in dvc.lock that are within its folder, with their MD5.

    Raises:
        InputError: the file does not exist, or it is not a dvc.lock.
    """
    try:
        stages: dict[str, Any] = yaml.safe_load(lock.read_text(encoding="utf-8"))["stages"]
        outs = [out for stage in stages.values() for out in stage.get("outs", ())]
        outputs = [(Path(out["path"]), str(out["md5"])) for out in outs]
    except FileNotFoundError:
        raise InputError(f"{lock}: no such file; run from the root, after `make repro`") from None
    except (yaml.YAMLError, TypeError, KeyError, AttributeError, ValueError):
        raise InputError(f"{lock}: not a dvc.lock; `git checkout {lock}`, or remove it") from None
    root = lock.parent.resolve()
    return [(path, md5) for path, md5 in outputs if path.resolve().is_relative_to(root)]


def damaged_outputs(outputs: Iterable[tuple[Path, str]], cache: Path) -> list[Path]:
    """List the outputs whose MD5 has changed; if an output is a folder, its changed files."""
    files = (file for path, md5 in outputs for file in _files(path, md5, cache))
    return [path for path, md5 in files if path.is_file() and _md5(path) != md5]


def damaged_cache(cache: Path) -> list[Path]:
    """List the files in DVC's cache whose MD5 differs from their name."""
    files = (file for file in sorted(cache.glob("??/*")) if _CACHED.fullmatch(file.name))
    return [file for file in files if _md5(file) != file.parent.name + file.name.split(".")[0]]


def _files(path: Path, md5: str, cache: Path) -> Iterator[tuple[Path, str]]:
    """List an output's files with their MD5; no files if a folder's list is missing or damaged."""
    if not md5.endswith(".dir"):
        yield path, md5
        return
    index = cache / md5[:2] / md5[2:]
    if index.is_file() and _md5(index) == md5.removesuffix(".dir"):
        for entry in json.loads(index.read_text(encoding="utf-8")):
            yield path / entry["relpath"], entry["md5"]
    else:
        print(f"{path}: not checked, the list of its files is not in DVC's cache")


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
