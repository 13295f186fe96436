"""Source `kaggle`: the Kermany data set from Kaggle, downloaded by kagglehub.

The version is fixed, so the images are the same everywhere. kagglehub keeps them in its cache
(`~/.cache/kagglehub`, or the folder in KAGGLEHUB_CACHE), continues interrupted downloads, and
downloads nothing twice. Then the images are read as in the source `folder`.
"""

from __future__ import annotations

import errno
from pathlib import Path

from pneumonia.core.config import DataParams
from pneumonia.core.errors import InputError
from pneumonia.datasets.manifest import SourceImage
from pneumonia.datasets.sources.folder import images_in

DATASET = "paultimothymooney/chest-xray-pneumonia"
HANDLE = f"{DATASET}/versions/2"
_BY_HAND = f"or download kaggle.com/datasets/{DATASET} yourself and set data.source: folder"
_DEPTH = 3  # train/ and test/ are at most so many folders deep; they are in chest_xray/chest_xray


def open_source(params: DataParams) -> list[SourceImage]:
    """Download the data set unless it is in the cache, and list its images.

    Raises:
        InputError: the download failed (the message says what to do), or its layout has changed.
    """
    try:
        # Import it here, so that kagglehub is loaded for this source only.
        import kagglehub

        root = Path(kagglehub.dataset_download(HANDLE))
    except (Exception, KeyboardInterrupt) as error:
        # kagglehub passes on the errors of requests, files, zipfile and Kaggle's client.
        raise InputError(f"data.source kaggle: {_explain(error)}") from None
    return images_in(_find_layout(root))


def _explain(error: BaseException) -> str:
    """Explain the problem, and what to do, in one line."""
    causes = [error]
    while cause := causes[-1].__cause__ or causes[-1].__context__:
        causes.append(cause)
    kinds = {kind.__name__ for cause in causes for kind in type(cause).__mro__}
    numbers = {getattr(cause, "errno", None) for cause in causes}
    responses = (getattr(cause, "response", None) for cause in causes)
    status = next((reply.status_code for reply in responses if reply is not None), None)
    message = " ".join(str(error).split()) or type(error).__name__
    answers = (
        (
            numbers & {errno.ENOSPC, errno.EDQUOT},
            "no space left for the download; it needs 5 GB in ~/.cache/kagglehub, or in the folder "
            "in KAGGLEHUB_CACHE",
        ),
        (
            status in (401, 403) or kinds & {"UnauthenticatedError", "CredentialError"},
            f"Kaggle refuses the download ({status or 'no valid credentials'}); put an API token "
            f"from kaggle.com/settings into ~/.kaggle/kaggle.json, {_BY_HAND}",
        ),
        (status == 404, f"Kaggle no longer has {HANDLE} (404); search for it there, {_BY_HAND}"),
        (status is not None, f"Kaggle answers with status {status}; try again later, {_BY_HAND}"),
        (
            kinds & {"KeyboardInterrupt", "ChunkedEncodingError", "IncompleteRead", "ReadTimeout"},
            "the download was interrupted; run again to continue it",
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
        (True, f"the download failed ({message}); run again, {_BY_HAND}"),
    )
    return next(text for applies, text in answers if applies)


def _find_layout(root: Path) -> Path:
    """The folder with train/ and test/ that is nearest to `root`."""
    level = [root]
    for _ in range(_DEPTH + 1):
        for folder in level:
            if (folder / "train").is_dir() and (folder / "test").is_dir():
                return folder
        below = (path for folder in level if folder.is_dir() for path in folder.iterdir())
        level = sorted(path for path in below if path.is_dir() and path.name != "__MACOSX")
    problem = f"no folder with train/ and test/ in {root}; delete that folder and run again"
    raise InputError(f"data.source kaggle: {problem}")
