"""Files from the web: resumed where they broke off, checked, and there as a whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path

from tqdm import tqdm

from pneumonia.errors import InputError

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
