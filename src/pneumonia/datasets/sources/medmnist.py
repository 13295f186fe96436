"""Files from the web: resumed where they broke off, checked, and there as a whole or not at all.

Source `medmnist`: PneumoniaMNIST of MedMNIST v2, the Kermany images as small squares.

`data.path` may name an `.npz` file of any size that MedMNIST offers; else the one of
`data.medmnist.size` px is downloaded once (28: 4 MB, 64: 21 MB, 128: 76 MB, 224: 214 MB). Its own
`val` is pooled with `train`, as by the source `folder`; its `test` is the 624 images of the official
test split.

MedMNIST publishes neither file names nor patients, so **each image counts as a patient of its own**:
images of one child can fall into train and validation, and intervals by patient are intervals by
image. Bacterial and viral pneumonia are not told apart.

Yang et al. 2023, *Scientific Data* 10:41, CC BY 4.0; doi 10.5281/zenodo.10519652. The MD5s are
those of MedMNIST's own `info.py`.
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
from pneumonia.core.errors import InputError
from pneumonia.datasets.manifest import SourceImage
from pneumonia.images.decoding import encode_png

_TIMEOUT = 30  # seconds without a byte
_CHUNK = 2**20


def cache_folder() -> Path:
    """Where this user's downloads lie: `pneumonia` in XDG_CACHE_HOME or, without that, ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pneumonia"


def fetch(url: str, md5: str, folder: Path) -> Path:
    """Download a file into a folder, unless it is there; give its path.

    The file is written as `<name>.part`, which a later call goes on with, and takes its name when
    its MD5 is right.

    Args:
        url: its last part, without a query, names the file.
        md5: 32 hex digits.
        folder: made where missing.

    Raises:
        InputError: no connection, refused, broken off, no space, or of another MD5.
    """
    name = url.rpartition("/")[2].partition("?")[0]
    path, part = folder / name, folder / f"{name}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if path.is_file() and _md5(path) == md5:
            return path
        if not (part.is_file() and _md5(part) == md5):
            _receive(url, part)
        found = _md5(part)
        if found != md5:
            part.unlink()
            raise InputError(f"{url}: arrived damaged (MD5 {found}, not {md5}); run again")
        part.replace(path)
    except urllib.error.HTTPError as error:
        raise InputError(f"{url}: the server answers {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise InputError(
            f"{url}: no connection ({error.reason}); check network and proxy"
        ) from None
    except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
        raise InputError(f"{url}: broken off ({error}); run again to go on from there") from None
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        mend = "; XDG_CACHE_HOME names another folder to download to" if full else ""
        raise InputError(f"{folder}: {error.strerror or error}{mend}") from None
    return path


def _receive(url: str, part: Path) -> None:
    """Append to `part` what is missing of it, or write it anew where the server cannot resume."""
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        # Every URL is a constant of ours, https, and what it gives is held to a checksum.
        answer = urllib.request.urlopen(request, timeout=_TIMEOUT)  # nosec B310
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        part.unlink()  # longer than the file: no beginning of it
        have, answer = 0, urllib.request.urlopen(url, timeout=_TIMEOUT)  # nosec B310
    with answer:
        if answer.status != http.HTTPStatus.PARTIAL_CONTENT:
            have = 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else None
        bar = tqdm(
            desc=part.stem, total=total, initial=have, unit="B", unit_scale=True, mininterval=1,
            disable=None,
        )  # fmt: skip
        with bar, part.open("ab" if have else "wb") as file:
            while chunk := answer.read(_CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
    size = part.stat().st_size
    # urllib takes a connection that ends early for the end of the file.
    if total is not None and size < total:
        raise ConnectionError(f"{size:,} of {total:,} bytes")


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


RECORD = "https://zenodo.org/records/10519652/files"
MD5 = {
    28: "28209eda62fecd6e6a2d98b1501bb15f",
    64: "8f4eceb4ccffa70c672198ea285246c6",
    128: "05b46931834c231683c68f40c47b2971",
    224: "d6a3c71de1b945ea11211b03746c1fe1",
}
_SPLITS = {"train": "train", "val": "train", "test": "test"}


def open_source(params: DataParams) -> list[SourceImage]:
    """List the images of the `.npz` file that `data.path` names, or of a downloaded one.

    The arrays are read once and held here (294 MB at 224 px); an image's `read` takes its own pixels
    along, so that workers hold no more than they work on.

    Raises:
        InputError: no such file, no PneumoniaMNIST in it, or the download failed.
    """
    if params.path.endswith(".npz"):
        path = Path(params.path)
    else:
        size = params.medmnist.size
        name = "pneumoniamnist.npz" if size == 28 else f"pneumoniamnist_{size}.npz"
        path = fetch(f"{RECORD}/{name}?download=1", MD5[size], cache_folder())
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


def _read_arrays(path: Path) -> list[tuple[str, NDArray[np.uint8], NDArray[np.integer]]]:
    """Each split's images, uint8 (N, S, S), and labels, 0 or 1, (N,)."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {
                f"{split}_{kind}": archive[f"{split}_{kind}"]
                for split in _SPLITS
                for kind in ("images", "labels")
            }
    except FileNotFoundError:
        raise InputError(f"data.path: {path}: no such file") from None
    except KeyError as error:
        raise InputError(f"{path}: no PneumoniaMNIST: {error.args[0]}") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    except Exception as error:
        # NumPy and zipfile raise nearly anything, depending on where a file breaks off. Of what is
        # no archive, NumPy says that it is a pickle, and how to load it if one trusts it.
        why = f" ({error})" if is_zipfile(path) else ""
        raise InputError(f"{path}: no or a damaged .npz archive of arrays{why}") from None
    problems = [
        f"{path}: {problem}"
        for split in _SPLITS
        for problem in _problems(split, arrays[f"{split}_images"], arrays[f"{split}_labels"])
    ]
    sides = {arrays[f"{split}_images"].shape[1:] for split in _SPLITS}
    if not problems and len(sides) > 1:
        problems.append(f"{path}: images of {len(sides)} sizes: {sorted(sides)}")
    if problems:
        raise InputError("\n".join(problems))
    return [
        (split, arrays[f"{split}_images"], arrays[f"{split}_labels"].ravel()) for split in _SPLITS
    ]


def _problems(split: str, images: NDArray[np.generic], labels: NDArray[np.generic]) -> list[str]:
    problems = []
    if images.dtype != np.uint8 or images.ndim != 3 or len(set(images.shape[1:])) != 1:
        problems.append(
            f"{split}_images is {images.dtype} {images.shape}, not uint8 (N, S, S): grey squares"
        )
    if not np.issubdtype(labels.dtype, np.integer) or labels.shape not in (
        (labels.size, 1),
        (labels.size,),
    ):
        problems.append(f"{split}_labels is {labels.dtype} {labels.shape}, not integer (N, 1)")
    elif not np.isin(labels, (0, 1)).all():
        problems.append(f"{split}_labels has other labels than 0 and 1")
    elif len(set(labels.ravel().tolist())) < 2:
        problems.append(f"{split}_labels is all of one class, or empty")
    if not problems and len(images) != len(labels):
        problems.append(f"{split}: {len(images)} images and {len(labels)} labels")
    return problems
