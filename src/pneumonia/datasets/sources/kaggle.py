"""Source `kaggle`: the Kermany set as Kaggle has it, downloaded by kagglehub.

One version is pinned, so the images are the same everywhere. kagglehub keeps them in its cache
(`~/.cache/kagglehub`, or the folder that KAGGLEHUB_CACHE names), resumes what was broken off and
downloads nothing twice. Then the images are read as by the source `folder`.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

from pneumonia.core.config import DataParams
from pneumonia.core.errors import InputError
from pneumonia.datasets.manifest import SourceImage
from pneumonia.datasets.sources.folder import images_in

DATASET = "paultimothymooney/chest-xray-pneumonia"
HANDLE = f"{DATASET}/versions/2"
_BY_HAND = (
    f"or fetch the archive from kaggle.com/datasets/{DATASET} by hand and set data.source: folder"
)
_DEPTH = 3  # folders down to train/ and test/; the archive nests chest_xray/chest_xray


def open_source(params: DataParams) -> list[SourceImage]:
    """Download the data set where it is not in the cache yet, and list its images.

    Raises:
        InputError: the download failed, with what to do; or it is not laid out as it was.
    """
    return images_in(_find_layout(_download()))


def _download() -> Path:
    try:
        # Imported here alone: nothing of kagglehub runs unless this source is asked for.
        import kagglehub

        return Path(kagglehub.dataset_download(HANDLE))
    except (Exception, KeyboardInterrupt) as error:
        # kagglehub hands on what requests, the file system, zipfile and Kaggle's client raise.
        raise InputError(f"data.source kaggle: {_explain(error)}") from None


def _explain(error: BaseException) -> str:
    """One line: what went wrong, and what to do next."""
    kinds = {kind.__name__ for cause in _causes(error) for kind in type(cause).__mro__}
    numbers = {getattr(cause, "errno", None) for cause in _causes(error)}
    replies = (getattr(cause, "response", None) for cause in _causes(error))
    status = next((reply.status_code for reply in replies if reply is not None), None)
    said = " ".join(str(error).split()) or type(error).__name__
    answers = (
        (
            numbers & {errno.ENOSPC, errno.EDQUOT},
            "no space left for the download; it needs 5 GB in ~/.cache/kagglehub, or in the folder "
            "that KAGGLEHUB_CACHE names",
        ),
        (
            status in (401, 403) or kinds & {"UnauthenticatedError", "CredentialError"},
            f"Kaggle refuses the download ({status or 'no valid credentials'}); put an API token "
            f"from kaggle.com/settings into ~/.kaggle/kaggle.json, {_BY_HAND}",
        ),
        (status == 404, f"Kaggle has no {HANDLE} any more (404); look for it there, {_BY_HAND}"),
        (status is not None, f"Kaggle answers with status {status}; try again later, {_BY_HAND}"),
        (
            kinds & {"KeyboardInterrupt", "ChunkedEncodingError", "IncompleteRead", "ReadTimeout"},
            "the download was interrupted; run again, and it goes on where it stopped",
        ),
        (
            kinds & {"ConnectionError", "Timeout", "TimeoutError", "gaierror"},
            f"no connection to Kaggle; check network and proxy and run again, {_BY_HAND}",
        ),
        (
            kinds & {"DataCorruptionError", "BadZipFile"},
            f"the download arrived damaged; run again, {_BY_HAND}",
        ),
        ("ImportError" in kinds, "kagglehub is not installed; `make setup` installs it"),
        (True, f"the download failed ({said}); run again, {_BY_HAND}"),
    )
    return next(text for applies, text in answers if applies)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came from, nearest first."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__


def _find_layout(root: Path) -> Path:
    """The folder with train/ and test/ nearest to `root`."""
    level = [root]
    for _ in range(_DEPTH + 1):
        for folder in level:
            if (folder / "train").is_dir() and (folder / "test").is_dir():
                return folder
        below = (path for folder in level if folder.is_dir() for path in folder.iterdir())
        level = sorted(path for path in below if path.is_dir() and path.name != "__MACOSX")
    raise InputError(
        f"data.source kaggle: no folder with train/ and test/ in {root}; delete that folder and "
        "run again"
    )
