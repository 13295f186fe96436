"""Put damaged outputs out of the way, so that `dvc repro` makes them anew.

DVC takes a file of its cache for what its name says, and an output that it put there for what
dvc.lock says: a byte that the disk changed comes back with every checkout, and even after a stage
has run again.
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
Move outputs that are not as dvc.lock has them, and files of DVC's cache that are not as their
names say, to build/damaged: damaged ones, but also what you changed by hand or did not commit.
`dvc repro` makes again what is missing. Reads all outputs and all of the cache; deletes nothing.
"""
ASIDE = Path("build/damaged")
_NAME = re.compile(
    r"[0-9a-f]{30}(\.dir)?"
)  # of a file in the cache; its folder has two digits more


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None but --help."""


def run(_: argparse.Namespace) -> int:
    """Move what is damaged, a line each; the exit status.

    Raises:
        InputError: no repository of DVC here, or no dvc.lock; another process is at it; a file
            cannot be read or moved.
    """
    from dvc.exceptions import DvcException
    from dvc.lock import LockError
    from dvc.repo import Repo

    outputs = locked_outputs(Path("dvc.lock"))
    try:
        repo = Repo()
        # As `dvc repro` does: what it is just writing is not as the lock has it.
        with repo.lock, writing(ASIDE):
            return _put_aside(outputs, Path(repo.cache.local.path))
    except LockError:
        raise InputError("another `dvc` is at work here; let it end") from None
    except DvcException as error:
        raise InputError(f"DVC: {' '.join(str(error).split())}") from None


def _put_aside(outputs: list[tuple[Path, str]], cache: Path) -> int:
    moves = [(path, ASIDE / path) for path in damaged_outputs(outputs, cache)]
    moves += [(path, ASIDE / "cache" / path.relative_to(cache)) for path in damaged_cache(cache)]
    for path, aside in moves:
        aside.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(path, aside)
        print(f"{aside}: was not as it was written")
    print(f"{len(moves)} files moved; `make repro` makes anew what is missing")
    return 0


def locked_outputs(lock: Path) -> list[tuple[Path, str]]:
    """The outputs in the dvc.lock of this folder, those within it, with their MD5.

    Raises:
        InputError: no such lock, or none of DVC's.
    """
    try:
        stages: dict[str, Any] = yaml.safe_load(lock.read_text(encoding="utf-8"))["stages"]
        outs = [out for stage in stages.values() for out in stage.get("outs", ())]
        listed = [(Path(out["path"]), str(out["md5"])) for out in outs]
    except FileNotFoundError:
        raise InputError(f"{lock}: no such file; run from the root, after `make repro`") from None
    except (yaml.YAMLError, TypeError, KeyError, AttributeError, ValueError):
        raise InputError(
            f"{lock}: not a lock of DVC; `git checkout {lock}`, or remove it"
        ) from None
    root = lock.parent.resolve()
    return [(path, md5) for path, md5 in listed if path.resolve().is_relative_to(root)]


def damaged_outputs(outputs: Iterable[tuple[Path, str]], cache: Path) -> list[Path]:
    """Outputs whose MD5 is another one; of folders, the files in them."""
    files = (file for path, md5 in outputs for file in _files(path, md5, cache))
    return [path for path, md5 in files if path.is_file() and _md5(path) != md5]


def damaged_cache(cache: Path) -> list[Path]:
    """Files of DVC's cache that do not have the MD5 that names them."""
    files = (file for file in sorted(cache.glob("??/*")) if _NAME.fullmatch(file.name))
    return [file for file in files if _md5(file) != file.parent.name + file.name.split(".")[0]]


def _files(path: Path, md5: str, cache: Path) -> Iterator[tuple[Path, str]]:
    """An output's files with their MD5; of a folder whose list is lost or damaged, none."""
    if not md5.endswith(".dir"):
        yield path, md5
        return
    index = cache / md5[:2] / md5[2:]
    if index.is_file() and _md5(index) == md5.removesuffix(".dir"):
        for entry in json.loads(index.read_text(encoding="utf-8")):
            yield path / entry["relpath"], entry["md5"]
    else:
        print(f"{path}: not looked at, the list of its files is not in DVC's cache")


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
