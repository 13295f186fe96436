"""Each test has a new store; all share the validation images."""

import pytest

from tests.registry.candidates import Images, some_images
from tests.tracking.stores import client, empty, name, on_postgresql, on_sqlite, server, store

__all__ = ["client", "empty", "name", "on_postgresql", "on_sqlite", "server", "store"]


@pytest.fixture(scope="session")
def images() -> Images:
    return some_images()
