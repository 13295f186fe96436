"""Source `phantom`: synthetic images; see `pneumonia.datasets.phantom`."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from pneumonia.core.config import DataParams
from pneumonia.datasets import phantom
from pneumonia.datasets.manifest import SourceImage
from pneumonia.images.decoding import encode_png


def open_source(params: DataParams) -> list[SourceImage]:
    """List the phantom images; `data.phantom.images` is their number."""
    seed = params.phantom.seed
    images = []
    for index in range(params.phantom.images):
        patient = phantom.patient_of(index)
        diagnosis = phantom.diagnosis_of(seed, patient)
        images.append(
            SourceImage(
                file=f"phantom/{index:05d}.png",
                label=int(diagnosis.subtype != "normal"),
                subtype=diagnosis.subtype,
                patient_id=f"phantom-{diagnosis.subtype}-{diagnosis.number:05d}",
                split=diagnosis.split,
                read=partial(_read, seed, index),
            )
        )
    return images


def _read(seed: int, index: int) -> tuple[bytes, NDArray[np.bool_]]:
    image = phantom.draw(seed, index)
    return encode_png(image.pixels), image.mask
