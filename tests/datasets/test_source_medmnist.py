"""The source medmnist: its file, its arrays and its download."""

from __future__ import annotations

import errno
import hashlib
import io
import pickle
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pneumonia.core.errors import InputError
from pneumonia.datasets.prepare import prepare
from pneumonia.datasets.sources import medmnist, open_source
from pneumonia.datasets.sources.medmnist import fetch
from tests.conftest import data_params, prepare_params

COUNTS = {"train": 30, "val": 6, "test": 8}


def arrays(side: int = 28) -> dict[str, NDArray[Any]]:
    """The arrays of a small PneumoniaMNIST file."""
    rng = np.random.default_rng(side)
    made: dict[str, NDArray[Any]] = {}
    for split, count in COUNTS.items():
        made[f"{split}_images"] = rng.integers(0, 256, (count, side, side), dtype=np.uint8)
        made[f"{split}_labels"] = (np.arange(count) % 3 > 0).astype(np.uint8)[:, None]
    return made


def npz(held: dict[str, NDArray[Any]]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **held)
    return buffer.getvalue()


def write(folder: Path, payload: bytes) -> Path:
    path = folder / "pneumoniamnist.npz"
    path.write_bytes(payload)
    return path


@pytest.mark.parametrize("side", [28, 64])
def test_a_file_is_listed_with_its_splits_and_labels(tmp_path: Path, side: int) -> None:
    held = arrays(side)
    images = open_source(data_params("medmnist", write(tmp_path, npz(held))))
    names = [f"{split}/{n:05d}.png" for split, count in COUNTS.items() for n in range(count)]
    assert [image.file for image in images] == sorted(names)
    assert len({image.patient_id for image in images}) == len(images)
    for image in images:
        split, number = image.file.removesuffix(".png").split("/")
        assert image.label == held[f"{split}_labels"][int(number), 0]
        assert image.subtype == ("unknown" if image.label else "normal")
        assert image.split == ("test" if split == "test" else "train")
        payload, mask = pickle.loads(pickle.dumps(image)).read()
        assert np.array_equal(Image.open(io.BytesIO(payload)), held[f"{split}_images"][int(number)])
        assert mask is None


def test_an_image_pickles_its_own_pixels_only(tmp_path: Path) -> None:
    images = open_source(data_params("medmnist", write(tmp_path, npz(arrays(64)))))
    assert max(len(pickle.dumps(image)) for image in images) < 64 * 64 + 2000


def test_a_file_is_prepared(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    images = open_source(data_params("medmnist", write(tmp_path, npz(arrays()))))
    done = prepare(images, prepare_params(), tmp_path / "out")
    assert len(done.rows) == sum(COUNTS.values())
    assert {(row.width, row.height, row.mode) for row in done.rows} == {(28, 28, "L")}


def changed(**given: Any) -> dict[str, NDArray[Any]]:
    return arrays() | {name: np.asarray(value) for name, value in given.items()}


@pytest.mark.parametrize(
    ("held", "reason"),
    [
        (changed(train_images=np.zeros((30, 28, 28, 3), np.uint8)), "train_images is uint8 (30,"),
        (changed(val_images=np.zeros((6, 28, 29), np.uint8)), "val_images is uint8 (6, 28, 29)"),
        (changed(test_images=np.zeros((8, 28, 28))), "test_images is float64"),
        (changed(test_images=np.uint8(3)), "test_images is uint8 ()"),
        (changed(train_labels=np.zeros((30, 1), np.uint8)), "train_labels is all of one class"),
        (changed(train_labels=np.arange(30)[:, None]), "train_labels has other labels than 0"),
        (changed(train_labels=np.zeros((30, 2), np.uint8)), "train_labels is uint8 (30, 2)"),
        (changed(train_labels=np.uint8(0)), "train_labels is uint8 ()"),
        (changed(val_labels=np.array([[0], [1]])), "val: 6 images and 2 labels"),
        (changed(test_images=np.zeros((8, 64, 64), np.uint8)), "images of 2 sizes"),
        ({"train_images": np.zeros(3)}, "no PneumoniaMNIST"),
        (changed(train_labels=np.array([{"a": 1}] * 30)), "Object arrays cannot be loaded"),
    ],
)  # fmt: skip
def test_another_archive_is_refused_with_the_reason(
    tmp_path: Path, held: dict[str, NDArray[Any]], reason: str
) -> None:
    path = write(tmp_path, npz(held))
    with pytest.raises(InputError) as caught:
        open_source(data_params("medmnist", path))
    assert str(caught.value).startswith(str(path))
    assert reason in str(caught.value)


@pytest.mark.parametrize("payload", [b"", b"just text", npz(arrays())[:-200], npz(arrays())[:3000]])
def test_a_broken_file_is_one_line(tmp_path: Path, payload: bytes) -> None:
    path = write(tmp_path, payload)
    with pytest.raises(InputError) as caught:
        open_source(data_params("medmnist", path))
    assert str(caught.value).startswith(f"{path}: not an .npz archive")
    assert "\n" not in str(caught.value)
    assert "pickle" not in str(caught.value)


def test_a_lone_array_and_a_missing_file_are_named(tmp_path: Path) -> None:
    path = tmp_path / "lone.npz"
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(InputError, match=r"lone\.npz: not an"):
        open_source(data_params("medmnist", path))
    with pytest.raises(InputError, match=r"data\.path: .*gone\.npz: no such file"):
        open_source(data_params("medmnist", tmp_path / "gone.npz"))


@dataclass
class Server:
    """A web server on this machine with one file."""

    payload: bytes
    url: str = ""
    resumes: bool = True
    cut_at: int | None = None  # bytes after which the connection ends
    status: int = 200
    ranges: list[str | None] = field(default_factory=list)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    state = Server(npz(arrays()))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers["Range"]
            state.ranges.append(asked)
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and state.resumes else 0
            status = 206 if start else state.status
            if start >= len(state.payload):
                status = 416
            if status >= 400:
                self.send_error(status)
                return
            self.send_response(status)
            self.send_header("Content-Length", str(len(state.payload) - start))
            self.end_headers()
            self.wfile.write(state.payload[start : state.cut_at])

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{http.server_port}"
    yield state
    http.shutdown()
    thread.join()
    http.server_close()


def md5(payload: bytes) -> str:
    return hashlib.md5(payload, usedforsecurity=False).hexdigest()


def get(server: Server, folder: Path) -> Path:
    return fetch(f"{server.url}/images.npz?download=1", md5(server.payload), folder)


def test_a_size_is_downloaded_once_into_the_users_cache(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(medmnist, "DOWNLOADS", server.url)
    for size, name in ((28, "pneumoniamnist.npz"), (64, "pneumoniamnist_64.npz")):
        server.payload = npz(arrays(size))
        monkeypatch.setitem(medmnist.MD5, size, md5(server.payload))
        server.ranges.clear()
        params = data_params("medmnist", tmp_path, medmnist={"size": size})
        for _ in range(2):
            images = open_source(params)
            assert np.asarray(Image.open(io.BytesIO(images[0].read()[0]))).shape == (size, size)
        assert len(server.ranges) == 1
        assert (tmp_path / "cache" / "pneumonia" / name).read_bytes() == server.payload


def test_the_cache_is_in_the_home_folder_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    folders: list[Path] = []

    def record(url: str, md5: str, folder: Path) -> Path:
        folders.append(folder)
        raise InputError("not downloaded")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(medmnist, "fetch", record)
    with pytest.raises(InputError, match="not downloaded"):
        open_source(data_params("medmnist"))
    assert folders == [Path.home() / ".cache" / "pneumonia"]


def test_an_interrupted_download_is_kept_and_continued(server: Server, tmp_path: Path) -> None:
    server.cut_at = 1000
    with pytest.raises(
        InputError, match=r"interrupted \(1,000 of .* bytes\); run again to continue"
    ):
        get(server, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["images.npz.part"]
    server.cut_at = None
    assert get(server, tmp_path).read_bytes() == server.payload
    assert server.ranges == [None, "bytes=1000-"]
    assert [path.name for path in tmp_path.iterdir()] == ["images.npz"]


def test_a_server_that_cannot_resume_sends_all_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "images.npz.part").write_bytes(server.payload[:1000])
    server.resumes = False
    assert get(server, tmp_path).read_bytes() == server.payload


@pytest.mark.parametrize("more", [0, 7])
def test_a_part_as_long_as_the_file_is_used_or_deleted(
    server: Server, tmp_path: Path, more: int
) -> None:
    (tmp_path / "images.npz.part").write_bytes(server.payload + bytes(more))
    assert get(server, tmp_path).read_bytes() == server.payload
    assert len(server.ranges) == (2 if more else 0)


def test_a_file_of_another_md5_is_not_kept(server: Server, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"arrived damaged \(MD5 .*, not 0{32}\); run again"):
        fetch(f"{server.url}/images.npz", "0" * 32, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_in_the_cache_is_downloaded_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "images.npz").write_bytes(server.payload[:-1])
    assert get(server, tmp_path).read_bytes() == server.payload


def test_a_refusal_and_no_connection_are_named(server: Server, tmp_path: Path) -> None:
    server.status = 404
    with pytest.raises(InputError, match=r"images\.npz\?download=1: the server answers 404"):
        get(server, tmp_path)
    with pytest.raises(InputError, match=r"no connection \(.*refused\); check network and proxy"):
        fetch("http://127.0.0.1:1/images.npz", "0" * 32, tmp_path)


def test_no_space_is_named(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(medmnist, "_receive", full)
    with pytest.raises(
        InputError, match=r"No space left on device; XDG_CACHE_HOME can name another"
    ):
        get(server, tmp_path)
