"""Sources of films. A source is a module with `open_source(params) -> list[SourceFilm]`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pneumonia.params import DataParams


@dataclass(frozen=True)
class SourceFilm:
    """A film before it is read.

    Attributes:
        file: its name within the source, unique.
        label: 0 normal, 1 pneumonia.
        subtype: normal, bacteria, virus or unknown.
        patient_id: who is on it.
        split: "train" or "test", as the source has it; validation is drawn from train.
        read: gives the file's bytes and, where the truth is known, the mask of the opacity
            (bool, (H, W)). Called in another process, so it must pickle.
    """

    file: str
    label: int
    subtype: str
    patient_id: str
    split: str
    read: Callable[[], tuple[bytes, NDArray[np.bool_] | None]]


def open_source(params: DataParams) -> list[SourceFilm]:
    """List the films of the source that `data.source` names, sorted by file.

    Raises:
        InputError: the source is not there or has no films of a class.
    """
    from pneumonia.data.sources import folder, phantom

    sources = {"folder": folder.open_source, "phantom": phantom.open_source}
    return sorted(sources[params.source](params), key=lambda film: film.file)
