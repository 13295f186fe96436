"""Save an unfinished training to disk; it can continue from there with the same final result."""

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
class TrainingState:
    """The state of a training after its last finished epoch."""

    history: list[dict[str, float]]  #: one row per epoch
    #: all values that change: the weights, their averages, the optimizer's moments and step.
    arrays: list[NDArray[Any]]


@dataclass(frozen=True)
class Checkpoint:
    """A folder for the state of one training at a time."""

    folder: Path  #: created when locked, removed when the training is done
    key: str  #: the result of `fingerprint`; a state with another key is ignored

    @property
    def file(self) -> Path:
        """The file that contains the state."""
        return self.folder / "state.npz"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out. The system releases the lock when this process ends.

        Raises:
            InputError: another process has the lock, for example after its `dvc repro` was killed.
        """
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise InputError(
                f"{self.folder}: another process is training this model; wait for its end, or"
                " stop it"
            ) from None
        finally:
            os.close(descriptor)

    def load(self) -> TrainingState | None:
        """Load the state of the training with this key; return None if there is no such state.

        A damaged state is removed, with one line on standard error; the result is then None.
        """
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
            print(f"{self.file}: damaged, training starts again ({reason})", file=sys.stderr)
            self.file.unlink()
            return None
        return TrainingState(header["history"], arrays)

    def save(self, state: TrainingState) -> None:
        """Replace the saved state. If this process crashes, the previous state remains intact.

        Raises:
            InputError: the disk is full or not writable.
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


def fingerprint(settings: dict[str, Any], sources: Iterable[Path]) -> str:
    """The SHA-256 of settings (as JSON) and of the content of files; it identifies a training."""
    hashed = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for source in sorted(sources):
        content = hashlib.sha256(source.read_bytes()).hexdigest()
        hashed.update(f"\n{source.as_posix()} {content}".encode())
    return hashed.hexdigest()


@contextmanager
def open_checkpoint(
    model: Path, epochs: int, settings: dict[str, Any], sources: Iterable[Path]
) -> Iterator[tuple[Checkpoint, list[dict[str, float]]]]:
    """Lock the checkpoint beside a model's folder during a training, and remove it at the end.

    Yields the checkpoint, and the history that an interrupted run of this training saved in it.
    After an exception, the checkpoint remains for the next run.
    """
    checkpoint = Checkpoint(
        model.with_name(model.name + ".checkpoint"), fingerprint(settings, sources)
    )
    with checkpoint.locked():
        state = checkpoint.load()
        history = state.history if state else []
        if history:
            print(
                f"{model.name}: continuing from epoch {history[-1]['epoch']} of {epochs}",
                flush=True,
            )
        yield checkpoint, history
        shutil.rmtree(checkpoint.folder)
