"""Drawn images as large as those of a hospital, for benchmarks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from joblib import Parallel, cpu_count, delayed
from PIL import Image

from benchmarks.preparing import SEED
from pneumonia.datasets.manifest import LABELS
from pneumonia.datasets.phantom import draw

PIXELS = 1.3e6  # mean number of pixels of a Kermany image
NOISE, QUALITY = 4.0, 95  # grey levels and JPEG quality: files of 0.45 MB, as in the Kermany set
DRAWN = 48  # different images, of 28 patients


def originals(folder: Path, count: int) -> list[Path]:
    """Write JPEG images of 1.3 megapixels in the layout of the source `folder`.

    They are drawn images, enlarged and with noise. From the 49th on they are copies of the first
    ones for other patients, each with another JPEG comment, so that no two files are the same.

    Returns:
        the files.
    """
    drawn = Parallel(n_jobs=cpu_count())(
        delayed(_original)(folder, index) for index in range(min(count, DRAWN))
    )
    files = list(drawn)
    for index in range(DRAWN, count):
        source = files[index % DRAWN]
        file = source.with_name(f"{index // DRAWN}-{source.name}")
        file.write_bytes(_commented(source.read_bytes(), index))
        files.append(file)
    return files


def _commented(jpeg: bytes, number: int) -> bytes:
    """A JPEG with a comment after its start-of-image marker (ITU-T T.81, B.2.4.5)."""
    comment = number.to_bytes(2)
    return jpeg[:2] + b"\xff\xfe" + (2 + len(comment)).to_bytes(2) + comment + jpeg[2:]


def _original(folder: Path, index: int) -> Path:
    image = draw(SEED, index)
    height, width = image.pixels.shape
    scale = (PIXELS / (height * width)) ** 0.5
    side = round(scale * width), round(scale * height)
    enlarged = np.asarray(Image.fromarray(image.pixels).resize(side, Image.Resampling.LANCZOS))
    noisy = enlarged + np.random.default_rng(index).normal(0, NOISE, enlarged.shape)
    parent = folder / image.split / LABELS[image.label]
    parent.mkdir(parents=True, exist_ok=True)
    # Named as by `preparing.save`, because the name contains the patient.
    file = parent / f"phantom-{image.patient:05d}-{index:05d}.jpeg"
    Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(file, quality=QUALITY)
    return file
