"""Source `phantom`: films that the program draws; see `pneumonia.data.phantom`."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from pneumonia.data import phantom
from pneumonia.data.image import encode_png
from pneumonia.data.sources import SourceFilm
from pneumonia.params import DataParams


def open_source(params: DataParams) -> list[SourceFilm]:
    """List `data.phantom.films` films, numbered from 0."""
    seed = params.phantom.seed
    films = []
    for index in range(params.phantom.films):
        patient = phantom.patient_of(index)
        diagnosis = phantom.diagnosis_of(seed, patient)
        films.append(
            SourceFilm(
                file=f"phantom/{index:05d}.png",
                label=int(diagnosis.subtype != "normal"),
                subtype=diagnosis.subtype,
                patient_id=f"phantom-{diagnosis.subtype}-{diagnosis.number:05d}",
                split=diagnosis.split,
                read=partial(_read, seed, index),
            )
        )
    return films


def _read(seed: int, index: int) -> tuple[bytes, NDArray[np.bool_]]:
    film = phantom.draw(seed, index)
    return encode_png(film.pixels), film.mask
