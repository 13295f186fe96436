"""The application on a small registered model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from pneumonia.images.decoding import encode_png
from pneumonia.server.app import create_app
from pneumonia.server.limits import Limits
from tests.images.test_decoding import smooth_image
from tests.server.browser import Browser, opened
from tests.server.registered import register_model

MakeClient = Callable[[Limits], TestClient]


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a fetched registered model."""
    # Undone before anything else runs, and not at the end of the session.
    with pytest.MonkeyPatch.context() as monkeypatch:
        folder = register_model(tmp_path_factory.mktemp("registered"), monkeypatch)
    return folder


@pytest.fixture(scope="session")
def app(model_folder: Path) -> FastAPI:
    return create_app(str(model_folder), Limits())


@pytest.fixture(scope="session")
def client(app: FastAPI) -> Iterator[TestClient]:
    """A client; exceptions become responses, as over a network."""
    with TestClient(app, raise_server_exceptions=False) as found:
        yield found


@pytest.fixture
def client_with(model_folder: Path) -> Iterator[MakeClient]:
    """Make an application with other limits."""
    opened: list[TestClient] = []

    def make(limits: Limits) -> TestClient:
        app = create_app(str(model_folder), limits)
        opened.append(TestClient(app, raise_server_exceptions=False).__enter__())
        return opened[-1]

    yield make
    for one in opened:
        one.__exit__(None, None, None)


@pytest.fixture(scope="session")
def images() -> list[bytes]:
    """PNG images, the first darker than the model's threshold, the others brighter."""
    return [encode_png(smooth_image(70 + 9 * n, 90) // 2 + 40 * n) for n in range(4)]


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser."""
    with opened(tmp_path_factory.mktemp("browser")) as found:
        yield found
