"""The state of an unfinished training on disk, from which it goes on to the same bytes."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import sys
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumonia.core.errors import InputError, writing


@dataclass(frozen=True)
class State:
    """A training after its last finished epoch.

    Attributes:
        history: a row an epoch.
        arrays: weights, averages, the optimizer's moments and step: all that changes.
    """

    history: list[dict[str, float]]
    arrays: list[NDArray[Any]]


@dataclass(frozen=True)
class Checkpoint:
    """A folder for the state of one training at a time.

    Attributes:
        folder: made when needed, gone when the training is done.
        key: of `fingerprint`; a state with another key is not looked at.
    """

    folder: Path
    key: str

    @property
    def file(self) -> Path:
        """Where the state lies."""
        return self.folder / "state.npz"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes out; the system lets go when this one ends, however it ends.

        Raises:
            InputError: another process is at it, such as one whose `dvc repro` was killed alone.
        """
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise InputError(
                f"{self.folder}: another process is training this model; let it end, or stop it"
            ) from None
        finally:
            os.close(descriptor)

    def load(self) -> State | None:
        """The state of this very training; None if there is none, with a line if it is damaged."""
        try:
            with np.load(self.file, allow_pickle=False) as stored:
                header = json.loads(stored["header"].tobytes())
                if header["key"] != self.key:
                    return None
                arrays = [stored[f"{number}"] for number in range(header["arrays"])]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            print(f"{self.file}: damaged, starting over ({reason})", file=sys.stderr)
            self.file.unlink()
            return None
        return State(header["history"], arrays)

    def save(self, state: State) -> None:
        """Replace the state at once: whoever dies in between leaves the former one whole.

        Raises:
            InputError: the disk is full, or closed to writing.
        """
        header = {"key": self.key, "arrays": len(state.arrays), "history": state.history}
        named: dict[str, Any] = {str(number): array for number, array in enumerate(state.arrays)}
        new = self.file.with_suffix(".writing")
        with writing(new):
            with new.open("wb") as file:
                np.savez(file, header=np.frombuffer(json.dumps(header).encode(), np.uint8), **named)
                file.flush()
                os.fsync(file.fileno())
            new.rename(self.file)
        folder = os.open(self.folder, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)

    def remove(self) -> None:
        """Throw everything away."""
        shutil.rmtree(self.folder)


def fingerprint(settings: dict[str, Any], sources: Iterable[Path]) -> str:
    """SHA-256 that names a training: settings that JSON can hold, and the content of files."""
    hashed = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for source in sorted(sources):
        content = hashlib.sha256(source.read_bytes()).hexdigest()
        hashed.update(f"\n{source.as_posix()} {content}".encode())
    return hashed.hexdigest()


@contextmanager
def begin(
    model: Path, epochs: int, settings: dict[str, Any], sources: Iterable[Path]
) -> Iterator[tuple[Checkpoint, list[dict[str, float]]]]:
    """Hold the checkpoint beside a model's folder during a training; throw it away at its end.

    Yields it with the history that a former start of the same training left in it, and says so.
    """
    checkpoint = Checkpoint(
        model.with_name(model.name + ".checkpoint"), fingerprint(settings, sources)
    )
    with checkpoint.held():
        state = checkpoint.load()
        history = state.history if state else []
        if history:
            print(
                f"{model.name}: going on from epoch {history[-1]['epoch']} of {epochs}", flush=True
            )
        yield checkpoint, history
        checkpoint.remove()
