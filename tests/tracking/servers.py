"""Real `mlflow server`s, on SQLite and on PostgreSQL, and a proxy that takes one away."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.pipeline.clone import clean_environment
from tests.server.rest import free_port, wait_until_up


@contextmanager
def mlflow_server(
    folder: Path, backend: str, *options: str, artifacts: str = "", **environment: str
) -> Iterator[str]:
    """A server with its artifacts in `folder`, or at another address; yields its own address."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [
        "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "2",
        "--backend-store-uri", backend, "--serve-artifacts", "--artifacts-destination",
        artifacts or str(folder / "artifacts"), *options,
    ]  # fmt: skip
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    # Where psycopg lies outside the environment.
    quiet |= {key: os.environ[key] for key in ("PYTHONPATH",) if key in os.environ}
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=clean_environment() | quiet | environment,
            stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        wait_until_up(address, lambda: process.poll() is None, "health")
        yield address
    finally:
        # The workers are its children.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def postgresql() -> Iterator[str]:
    """A PostgreSQL of Debian's packages with a database of its own; yields that one's URI."""
    binaries = _postgresql_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL here: apt-get install postgresql")
    if find_spec("psycopg") is None:
        pytest.skip("no psycopg here: pip install 'psycopg[binary]'")
    # PostgreSQL refuses to run as root; Debian's package makes the user. pytest's folders are
    # closed to that one.
    user = "postgres" if os.getuid() == 0 else None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        if user:
            shutil.chown(folder, user)
        yield from _running_postgresql(binaries, Path(folder) / "data", user)


def _running_postgresql(binaries: Path, data: Path, user: str | None) -> Iterator[str]:
    ran = subprocess.run(
        [binaries / "initdb", "-D", data, "-U", "mlflow", "--auth", "trust", "--no-sync"],
        user=user, cwd="/", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    port = free_port()
    process = subprocess.Popen(
        [binaries / "postgres", "-D", data, "-p", str(port), "-k", data, "-h", "127.0.0.1"],
        user=user, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        ready = [binaries / "pg_isready", "-h", "127.0.0.1", "-p", str(port), "-t", "1"]
        while subprocess.run(ready, capture_output=True, check=False).returncode:
            assert process.poll() is None, "PostgreSQL ended"
            time.sleep(0.1)
        yield f"postgresql+psycopg://mlflow@127.0.0.1:{port}/postgres"
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def _postgresql_binaries() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    here = shutil.which("initdb")
    return Path(here).resolve().parent if here else None


class Proxy:
    """Passes requests on to a server until one that `falls` names; from then on, it is away.

    Attributes:
        falls: (method and path of the request, whether it still reaches the server), or None.
        fell: whether that request came.
    """

    def __init__(self, server: str) -> None:
        self.server = server
        self.falls: tuple[str, bool] | None = None
        self.fell = False
        self.seen: list[str] = []

    @contextmanager
    def listening(self) -> Iterator[str]:
        """Yields the proxy's address."""
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def _pass_on(self) -> None:
                proxy._answer(self)

            # http.server looks these names up.
            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass_on  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{listener.server_address[1]}"
        finally:
            listener.shutdown()
            listener.server_close()

    def restore(self) -> None:
        """The server is there again."""
        self.falls, self.fell = None, False

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        what = f"{request.command} {request.path}"
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        self.seen.append(what)
        if self.fell:
            return  # no answer: the connection closes
        if self.falls and self.falls[0] in what:
            self.fell = True
            if not self.falls[1]:
                return
        kept = {
            key: value
            for key, value in request.headers.items()
            # An empty file is sent in chunks, of which there is none.
            if key.lower() not in ("host", "connection", "accept-encoding", "transfer-encoding")
        }
        body = None if request.command == "GET" else body
        passed = urllib.request.Request(
            self.server + request.path, body, kept, method=request.command
        )
        try:
            answer = urllib.request.urlopen(passed, timeout=60)
        except urllib.error.HTTPError as error:
            answer = error
        payload = answer.read()
        if self.fell:
            return
        request.send_response(answer.status)
        for key, value in answer.headers.items():
            if key.lower() not in ("transfer-encoding", "connection", "content-length"):
                request.send_header(key, value)
        request.send_header("Content-Length", str(len(payload)))
        request.end_headers()
        request.wfile.write(payload)
