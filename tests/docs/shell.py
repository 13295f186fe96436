"""A shell in a clone, as a reader of the documentation uses it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.docs.blocks import Block, matches
from tests.pipeline.clone import Clone, clean_environment
from tests.server.rest import free_port

_PORT = re.compile(r"(127\.0\.0\.1:|localhost:|--port[ =])(\d{4,5})\b")
_ADDRESS = re.compile(r"https?://127\.0\.0\.1:\d+")
_BACKGROUND = re.compile(r"[^&]&\s*(#.*)?$", re.MULTILINE)


class Shell:
    """One bash process. It keeps folder, variables and background jobs from block to block.

    Each port that a document names is replaced by a free one, because a server of this machine may
    use it. In the output the port is replaced back.
    """

    def __init__(self, folder: Path, scratch: Path, environment: Mapping[str, str]) -> None:
        self._scratch = scratch
        self._ports = {"8080": str(free_port()), "5000": str(free_port())}
        given = {"PORT": self._ports["8080"], "UI_PORT": self._ports["5000"]}
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder, env={**environment, **given}, text=True, bufsize=1,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def run(self, commands: str, stop_at_failure: bool) -> tuple[int, str]:
        """Run commands; return the last exit status and everything that they printed.

        If the commands start a server in the background, this waits until it answers. For that they
        must print its address.

        Args:
            commands: lines of bash.
            stop_at_failure: end the shell at the first command that fails.
        """
        script, output = self._scratch / "script", self._scratch / f"output-{time.monotonic_ns()}"
        script.write_text(
            f"set {'-' if stop_at_failure else '+'}e\n{self._use_free_ports(commands)}"
        )
        assert self._bash.stdin and self._bash.stdout
        self._bash.stdin.write(f". '{script}' >'{output}' 2>&1 </dev/null; echo $?\n")
        # A shell that has ended prints no status.
        printed = self._bash.stdout.readline().strip()
        status = int(printed) if printed else self._bash.wait()
        if status == 0 and _BACKGROUND.search(commands):
            _wait_until_up(output)
        return status, self._restore_ports(output.read_text(errors="replace"))

    def close(self) -> None:
        """End the shell and all processes that it started."""
        for kill in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self._bash.pid, kill)
            with suppress(subprocess.TimeoutExpired):
                self._bash.wait(5)
        assert self._bash.stdin and self._bash.stdout
        self._bash.stdout.close()
        with suppress(BrokenPipeError):
            self._bash.stdin.close()

    def _use_free_ports(self, commands: str) -> str:
        return _PORT.sub(lambda match: match[1] + self._free_port(match[2]), commands)

    def _free_port(self, port: str) -> str:
        return self._ports.setdefault(port, str(free_port()))

    def _restore_ports(self, output: str) -> str:
        for port, free in self._ports.items():
            output = re.sub(rf"\b{free}\b", port, output)
        return output


def check(session: Shell, block: Block, place: str) -> None:
    """Run a block and compare status and output of each command with the document.

    Args:
        session: the shell.
        block: what to run.
        place: document and line, for the message of a failure.
    """
    commands = block.commands()
    for command in commands:
        status, printed = session.run(command.text, stop_at_failure=command.output is None)
        expected = block.status if command == commands[-1] else 0
        assert status == expected, (
            f"{place}: {command.text}\nstatus {status}, not {expected}; it printed\n{printed}"
        )
        if command.output is not None:
            assert matches(command.output, printed), (
                f"{place}: {command.text}\nit printed\n{printed}\nand not\n{command.output}"
            )


@contextmanager
def shell(clone: Clone, scratch: Path, images: Path) -> Iterator[Shell]:
    """A shell in a clone with a virtual environment that is not activated yet.

    Args:
        clone: the working folder.
        scratch: an empty folder for scripts and output.
        images: the folder that `CHEST_XRAY_DIR` names.
    """
    _add_environment(clone.path / ".venv")
    tools = str(Path(sys.executable).parent)
    path = [entry for entry in os.environ["PATH"].split(os.pathsep) if entry != tools]
    session = Shell(
        clone.path,
        scratch,
        clean_environment()
        | {
            "PATH": os.pathsep.join(path),
            # The environment, which all clones share, has the package of another clone installed.
            "PYTHONPATH": str(clone.path / "src"),
            "CHEST_XRAY_DIR": str(images),
            "COLUMNS": "80",
            "GIT_AUTHOR_NAME": "Reader", "GIT_AUTHOR_EMAIL": "reader@example.org",
            "GIT_COMMITTER_NAME": "Reader", "GIT_COMMITTER_EMAIL": "reader@example.org",
        },
    )  # fmt: skip
    try:
        yield session
    finally:
        session.close()


def _add_environment(folder: Path) -> None:
    """Link the environment of this process where `make` would install one."""
    folder.mkdir()
    for entry in Path(sys.prefix).iterdir():
        if not entry.name.startswith(".installed"):
            (folder / entry.name).symlink_to(entry)
    for marker in (".installed", ".installed-dev", ".installed-search", ".installed-team"):
        (folder / marker).touch()


def _wait_until_up(output: Path, seconds: float = 120) -> None:
    """Wait until the address that was printed last answers."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.3)
        addresses = _ADDRESS.findall(output.read_text(errors="replace"))
        if not addresses:
            continue
        try:
            urllib.request.urlopen(addresses[-1], timeout=5)
        except urllib.error.HTTPError:
            return  # an answer, although an error
        except OSError:
            continue
        return
    raise AssertionError(f"no server answers:\n{output.read_text(errors='replace')}")
