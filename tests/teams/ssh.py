"""A real SSH server: Debian's sshd on a free port, with temporary keys."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.server.rest import free_port

SETTINGS = """Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
Subsystem sftp internal-sftp
"""


@dataclass(frozen=True)
class SshServer:
    """An SSH server for this user.

    Attributes:
        port: port on 127.0.0.1.
        key: file of the private key to log in with.
        home: a home folder with the server in its .ssh/known_hosts.
    """

    port: int
    key: Path
    home: Path


@contextmanager
def ssh_server(folder: Path) -> Iterator[SshServer]:
    """Run the server, with its keys in an empty folder."""
    # /usr/sbin is not on the path of every user.
    program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("no SSH server here: run apt-get install openssh-server")
    if find_spec("dvc_ssh") is None:
        pytest.skip("no dvc-ssh here: run make setup-team")
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(
            exist_ok=True
        )  # sshd needs this folder; only its service creates it
    for name in ("host", "user"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", folder / name],
            check=True,
        )
    port = free_port()
    settings = folder / "sshd_config"
    settings.write_text(SETTINGS.format(port=port, folder=folder))
    known = folder / "home" / ".ssh" / "known_hosts"
    known.parent.mkdir(parents=True)
    known.write_text(f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}")
    with (folder / "sshd.log").open("wb") as log:
        process = subprocess.Popen([program, "-D", "-e", "-f", settings], stderr=log)
    try:
        _wait(port, process, folder / "sshd.log")
        yield SshServer(port, folder / "user", folder / "home")
    finally:
        process.terminate()
        process.wait(30)


def user() -> str:
    """The user who can log in."""
    return getpass.getuser()


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(100):
        assert process.poll() is None, log.read_text()
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError("sshd did not start")
