"""A real S3 server: OpenStack Swift from Debian's packages, a process for each service."""

from __future__ import annotations

import getpass
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.pipeline.clone import clean_environment
from tests.server.rest import free_port

BUCKET = "images"
SERVICES = ("account", "container", "object")
TIMEOUT = 60  # seconds until the server answers
RING = """[DEFAULT]
swift_dir = {folder}
user = {user}
workers = 0
bind_ip = 127.0.0.1
bind_port = {port}
"""
STORAGE = """devices = {folder}/disks
mount_check = false
fallocate_reserve = 0
recon_cache_path = {folder}
[pipeline:main]
pipeline = {service}-server
[app:{service}-server]
use = egg:swift#{service}
"""
# tempauth asks for memcached but also works without it.
PROXY = """[pipeline:main]
pipeline = head catch_errors cache listing_formats s3api tempauth copy slo proxy-server
[filter:head]
paste.filter_factory = head:factory
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:1
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:s3api]
use = egg:swift#s3api
[filter:tempauth]
use = egg:swift#tempauth
user_team_member = throw-away .admin
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
"""
# Debian's Swift adds an empty chunk to a response to HEAD that has no length. Clients then take the
# chunk for the next response.
HEAD = '''"""Give each response to HEAD a length."""


def factory(settings, **options):
    def head(application):
        def respond(environment, start):
            def begin(status, headers, *error):
                if environment["REQUEST_METHOD"] == "HEAD":
                    if "content-length" not in {name.lower() for name, _ in headers}:
                        headers = [*headers, ("Content-Length", "0")]
                return start(status, headers, *error)

            return application(environment, begin)

        return respond

    return head
'''
HASHES = """[swift-hash]
swift_hash_path_prefix = a
swift_hash_path_suffix = b
[storage-policy:0]
name = only
default = yes
"""


@dataclass(frozen=True)
class ObjectStore:
    """An S3 server with an empty bucket.

    Attributes:
        endpoint: address of the server.
        environment: variables with the credentials for S3 clients.
    """

    endpoint: str
    environment: dict[str, str]


@contextmanager
def object_store(folder: Path) -> Iterator[ObjectStore]:
    """Run the server with its data in an empty folder."""
    if shutil.which("swift-proxy-server") is None:
        pytest.skip("no S3 server here: apt-get install swift-{proxy,account,container,object}")
    boto3 = pytest.importorskip("boto3", reason="no S3 client here: run make setup-team")
    (folder / "disks" / "one").mkdir(parents=True)
    (folder / "swift.conf").write_text(HASHES)
    (folder / "head.py").write_text(HEAD)
    processes = []
    try:
        for service in SERVICES:
            processes.append(_storage(folder, service))
        port = free_port()
        processes.append(_start(folder, "proxy", port, PROXY))
        endpoint = f"http://127.0.0.1:{port}"
        _wait(f"{endpoint}/info", processes)
        store = ObjectStore(
            endpoint,
            {
                "AWS_ACCESS_KEY_ID": "team:member",
                "AWS_SECRET_ACCESS_KEY": "throw-away",
                "AWS_DEFAULT_REGION": "us-east-1",
            },
        )
        client = boto3.client(
            "s3", endpoint_url=endpoint, region_name="us-east-1",
            aws_access_key_id="team:member", aws_secret_access_key="throw-away",
        )  # fmt: skip
        client.create_bucket(Bucket=BUCKET)
        yield store
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(30)


def _storage(folder: Path, service: str) -> subprocess.Popen[bytes]:
    """Start a storage service, with a ring that names its only disk."""
    port, builder = free_port(), folder / f"{service}.builder"
    for step in (
        ("create", "4", "1", "0"),  # 2**4 partitions, 1 copy, can be moved immediately
        ("add", f"r1z1-127.0.0.1:{port}/one", "1"),
        ("rebalance",),
    ):
        subprocess.run(["swift-ring-builder", builder, *step], check=True, capture_output=True)
    return _start(folder, service, port, STORAGE)


def _start(folder: Path, service: str, port: int, rest: str) -> subprocess.Popen[bytes]:
    settings = folder / f"{service}.conf"
    user = getpass.getuser()
    text = (RING + rest).format(folder=folder, service=service, port=port, user=user)
    settings.write_text(text)
    with (folder / f"{service}.log").open("wb") as log:
        command = [f"swift-{service}-server", settings]
        return subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT,
            env=clean_environment() | {"PYTHONPATH": str(folder)},
        )  # fmt: skip


def _wait(address: str, processes: list[subprocess.Popen[bytes]]) -> None:
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        assert all(process.poll() is None for process in processes), "a service of Swift ended"
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except OSError:
            time.sleep(0.2)
    raise AssertionError("Swift did not start")
