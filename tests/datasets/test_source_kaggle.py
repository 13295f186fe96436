"""The source kaggle: the layout of its download, and the messages of a failed one."""

from __future__ import annotations

import errno
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from pneumonia.core.errors import InputError
from pneumonia.datasets.sources import open_source
from pneumonia.datasets.sources.kaggle import HANDLE
from tests.conftest import MakeFolder, data_params, kermany

Answer = Callable[[str], str]


def install(monkeypatch: pytest.MonkeyPatch, answer: Answer) -> list[str]:
    """Replace kagglehub by one with this result; returns the requested handles."""
    asked: list[str] = []

    def dataset_download(handle: str) -> str:
        asked.append(handle)
        return answer(handle)

    module = types.SimpleNamespace(dataset_download=dataset_download)
    monkeypatch.setitem(sys.modules, "kagglehub", module)
    return asked


def fail(error: BaseException) -> Answer:
    def answer(handle: str) -> str:
        raise error

    return answer


def refused(status: int) -> requests.HTTPError:
    response = requests.Response()
    response.status_code = status
    return requests.HTTPError(f"{status} Client Error.\n\nlong\ntext", response=response)


def wrapped(cause: BaseException) -> Exception:
    try:
        raise RuntimeError("while extracting") from cause
    except RuntimeError as error:
        return error


@pytest.mark.parametrize("nesting", ["", "chest_xray", "chest_xray/chest_xray"])
def test_the_images_are_found_in_the_archive_that_was_pinned(
    monkeypatch: pytest.MonkeyPatch, make_folder: MakeFolder, nesting: str
) -> None:
    files = {str(Path(nesting, name)): payload for name, payload in kermany().items()}
    strangers = [f"__MACOSX/{split}/NORMAL/._IM-1-1.jpeg" for split in ("train", "test")]
    root = make_folder(files | dict.fromkeys(strangers, b"resource fork"))
    asked = install(monkeypatch, lambda handle: str(root))
    images = open_source(data_params("kaggle"))
    assert asked == [HANDLE] == ["paultimothymooney/chest-xray-pneumonia/versions/2"]
    assert [image.file for image in images] == sorted(kermany())
    assert images[0].read() == (kermany()[images[0].file], None)


def test_the_outer_one_of_two_copies_is_read(
    monkeypatch: pytest.MonkeyPatch, make_folder: MakeFolder
) -> None:
    # As the archive on Kaggle has it.
    files = {
        f"chest_xray/{inner}{name}": payload
        for inner in ("", "chest_xray/")
        for name, payload in kermany().items()
    }
    root = make_folder(files)
    install(monkeypatch, lambda handle: str(root))
    assert [image.file for image in open_source(data_params("kaggle"))] == sorted(kermany())


def test_an_archive_of_another_layout_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "images").mkdir()
    install(monkeypatch, lambda handle: str(tmp_path))
    with pytest.raises(InputError, match=r"no folder with train/ and test/ in .*; delete"):
        open_source(data_params("kaggle"))


@pytest.mark.parametrize(
    ("error", "reason", "mend"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "no space left", "KAGGLEHUB_CACHE"),
        (wrapped(OSError(errno.ENOSPC, "No space left")), "no space left", "KAGGLEHUB_CACHE"),
        (ConnectionError("refused"), "no connection to Kaggle", "data.source: folder"),
        (requests.ConnectionError("Max retries"), "no connection to Kaggle", "network and proxy"),
        (requests.ConnectTimeout("slow"), "no connection to Kaggle", "network and proxy"),
        (requests.ReadTimeout("silent"), "was interrupted", "run again to continue it"),
        (requests.exceptions.ChunkedEncodingError("cut"), "was interrupted", "run again"),
        (KeyboardInterrupt(), "was interrupted", "run again"),
        (refused(401), "refuses the download (401)", "kaggle.json"),
        (refused(403), "refuses the download (403)", "kaggle.json"),
        (type("UnauthenticatedError", (Exception,), {})("no"), "no valid credentials", "token"),
        (refused(404), "(404)", "data.source: folder"),
        (refused(503), "status 503", "try again later"),
        (type("DataCorruptionError", (Exception,), {})("md5\nx"), "arrived damaged", "run again"),
        (ValueError("never\nheard of"), "(never heard of)", "run again"),
    ],
)
def test_a_failed_download_is_one_line_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, reason: str, mend: str
) -> None:
    install(monkeypatch, fail(error))
    with pytest.raises(InputError) as caught:
        open_source(data_params("kaggle"))
    text = str(caught.value)
    assert text.startswith("data.source kaggle: ")
    assert "\n" not in text
    assert reason in text
    assert mend in text


def test_kagglehub_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(InputError, match="kagglehub is not installed"):
        open_source(data_params("kaggle"))


def test_no_other_source_imports_kagglehub(
    monkeypatch: pytest.MonkeyPatch, make_folder: MakeFolder
) -> None:
    import pneumonia.datasets.sources.kaggle

    assert not hasattr(pneumonia.datasets.sources.kaggle, "kagglehub")
    asked = install(monkeypatch, fail(AssertionError()))
    open_source(data_params("folder", make_folder(kermany())))
    assert asked == []
