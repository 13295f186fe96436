"""Source `medmnist`: PneumoniaMNIST of MedMNIST v2, the Kermany images as small squares.

`data.path` may name an `.npz` file of any size that MedMNIST offers. Otherwise the file for
`data.medmnist.size` px is downloaded once (28: 4 MB, 64: 21 MB, 128: 76 MB, 224: 214 MB). `val` is
merged with `train`, as in the source `folder`; `test` is the official test split, 624 images.

MedMNIST publishes no file names and no patients, so **each image counts as its own patient**.
Images of one child can be both in train and in validation, and intervals by patient are really
intervals by image. The data does not tell bacterial from viral pneumonia.

Data: Yang et al. 2023, *Scientific Data* 10:41, CC BY 4.0; doi 10.5281/zenodo.10519652. The MD5
sums come from MedMNIST's own `info.py`.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import urllib.request
from functools import partial
from pathlib import Path
from zipfile import is_zipfile

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from pneumonia.core.config import DataParams
from pneumonia.core.errors import InputError, refuse
from pneumonia.datasets.manifest import SourceImage
from pneumonia.images.decoding import encode_png

DOWNLOADS = "https://zenodo.org/records/10519652/files"
MD5 = {
    28: "28209eda62fecd6e6a2d98b1501bb15f",
    64: "8f4eceb4ccffa70c672198ea285246c6",
    128: "05b46931834c231683c68f40c47b2971",
    224: "d6a3c71de1b945ea11211b03746c1fe1",
}
_SPLITS = {"train": "train", "val": "train", "test": "test"}
_TIMEOUT = 30  # seconds in which no byte arrives
_CHUNK = 2**20


def open_source(params: DataParams) -> list[SourceImage]:
    """List the images of the `.npz` file in `data.path`, or of a downloaded `.npz` file.

    The arrays are read once and stay in memory (294 MB at 224 px). The function `read` of an image
    holds only the pixels of this image. So a worker process gets no other pixels.

    Raises:
        InputError: the file is missing or not PneumoniaMNIST, or the download failed.
    """
    if params.path.endswith(".npz"):
        path = Path(params.path)
    else:
        size = params.medmnist.size
        name = "pneumoniamnist.npz" if size == 28 else f"pneumoniamnist_{size}.npz"
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pneumonia"
        path = fetch(f"{DOWNLOADS}/{name}?download=1", MD5[size], cache)
    images = []
    for split, squares, labels in _read_arrays(path):
        for index, (pixels, label) in enumerate(zip(squares, labels, strict=True)):
            name = f"{split}/{index:05d}"
            images.append(
                SourceImage(
                    file=f"{name}.png",
                    label=int(label),
                    subtype="unknown" if label else "normal",
                    patient_id=name,
                    split=_SPLITS[split],
                    read=partial(_read, pixels),
                )
            )
    return images


def _read(pixels: NDArray[np.uint8]) -> tuple[bytes, None]:
    return encode_png(pixels), None


def fetch(url: str, md5: str, folder: Path) -> Path:
    """Download a file into a folder, unless it is already there; return its path.

    `<name>` is the last part of the URL, without a query. The download goes to `<name>.part`, and
    gets its real name if its MD5 is correct. A later call continues an interrupted download.

    Raises:
        InputError: no connection, refused, interrupted, no space on the disk, or a wrong MD5.
    """
    name = url.rpartition("/")[2].partition("?")[0]
    path, part = folder / name, folder / f"{name}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if path.is_file() and _md5(path) == md5:
            return path
        if not (part.is_file() and _md5(part) == md5):
            _receive(url, part)
        received = _md5(part)
        if received != md5:
            part.unlink()
            raise InputError(f"{url}: arrived damaged (MD5 {received}, not {md5}); run again")
        part.replace(path)
    except urllib.error.HTTPError as error:
        raise InputError(f"{url}: the server answers {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        reason = f"no connection ({error.reason}); check network and proxy"
        raise InputError(f"{url}: {reason}") from None
    except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
        raise InputError(f"{url}: interrupted ({error}); run again to continue it") from None
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        remedy = "; XDG_CACHE_HOME can name another folder to download to" if full else ""
        raise InputError(f"{folder}: {error.strerror or error}{remedy}") from None
    return path


def _receive(url: str, part: Path) -> None:
    """Append the missing rest to `part`; if the server cannot continue, write the whole file."""
    size = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={size}-"} if size else {})
    try:
        # This is safe: the URL is a constant with https, and the content's MD5 is checked.
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)  # nosec B310
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        part.unlink()  # it is longer than the file, so it is wrong
        size, response = 0, urllib.request.urlopen(url, timeout=_TIMEOUT)  # nosec B310
    with response:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            size = 0
        length = response.headers.get("Content-Length")
        total = size + int(length) if length else None
        bar = tqdm(
            desc=part.stem, total=total, initial=size, unit="B", unit_scale=True, mininterval=1,
            disable=None,
        )  # fmt: skip
        with bar, part.open("ab" if size else "wb") as file:
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
    size = part.stat().st_size
    # If a connection ends too early, urllib raises no error.
    if total is not None and size < total:
        raise ConnectionError(f"{size:,} of {total:,} bytes")


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _read_arrays(path: Path) -> list[tuple[str, NDArray[np.uint8], NDArray[np.integer]]]:
    """Read name, images, uint8 (N, S, S), and labels, 0 or 1, (N,), of each split."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = [(s, archive[f"{s}_images"], archive[f"{s}_labels"]) for s in _SPLITS]
    except FileNotFoundError:
        raise InputError(f"data.path: {path}: no such file") from None
    except KeyError as error:
        raise InputError(f"{path}: no PneumoniaMNIST: {error.args[0]}") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    except Exception as error:
        # NumPy and zipfile raise many types of exception for a damaged file. If the file is not an
        # archive, NumPy's message is about loading it as a pickle, which would be unsafe.
        reason = f" ({error})" if is_zipfile(path) else ""
        raise InputError(f"{path}: not an .npz archive of arrays, or damaged{reason}") from None
    problems = [problem for split in arrays for problem in _problems(*split)]
    sizes = {images.shape[1:] for _, images, _ in arrays}
    if not problems and len(sizes) > 1:
        problems.append(f"images of {len(sizes)} sizes: {sorted(sizes)}")
    refuse([f"{path}: {problem}" for problem in problems])
    return [(split, images, labels.ravel()) for split, images, labels in arrays]


def _problems(split: str, images: NDArray[np.generic], labels: NDArray[np.generic]) -> list[str]:
    problems = []
    if images.dtype != np.uint8 or images.ndim != 3 or len(set(images.shape[1:])) != 1:
        actual = f"{split}_images is {images.dtype} {images.shape}"
        problems.append(f"{actual}, not uint8 (N, S, S): grey squares")
    shapes = ((labels.size, 1), (labels.size,))
    if not np.issubdtype(labels.dtype, np.integer) or labels.shape not in shapes:
        problems.append(f"{split}_labels is {labels.dtype} {labels.shape}, not integer (N, 1)")
    elif not np.isin(labels, (0, 1)).all():
        problems.append(f"{split}_labels has other labels than 0 and 1")
    elif len(set(labels.ravel().tolist())) < 2:
        problems.append(f"{split}_labels is all of one class, or empty")
    if not problems and len(images) != len(labels):
        problems.append(f"{split}: {len(images)} images and {len(labels)} labels")
    return problems
