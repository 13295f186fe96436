"""Each test has a store of its own."""

from tests.tracking.stores import client, empty, name, on_postgresql, on_sqlite, server, store

__all__ = ["client", "empty", "name", "on_postgresql", "on_sqlite", "server", "store"]
