"""A shell in a clone: what a reader of the documentation has before them."""

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

from tests.docs.blocks import Block, shown
from tests.pipeline.clone import Clone, clean_environment
from tests.server.rest import free_port

_PORT = re.compile(r"(127\.0\.0\.1:|localhost:|--port[ =])(\d{4,5})\b")
_ADDRESS = re.compile(r"https?://127\.0\.0\.1:\d+")
_BACKGROUND = re.compile(r"[^&]&\s*(#.*)?$", re.MULTILINE)


class Shell:
    """One bash, which keeps folder, variables and background jobs from block to block.

    Whatever port a document names, another one is used, so that documents can be run beside
    servers of this machine; output names the document's again.
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
        """Run commands; their last status and all that they printed.

        A server that they leave in the background answers when this returns: they have to print
        its address.

        Args:
            stop_at_failure: end the shell at the first command that fails.
        """
        script, output = self._scratch / "script", self._scratch / f"output-{time.monotonic_ns()}"
        script.write_text(f"set {'-' if stop_at_failure else '+'}e\n{self._elsewhere(commands)}")
        assert self._bash.stdin and self._bash.stdout
        self._bash.stdin.write(f". '{script}' >'{output}' 2>&1 </dev/null; echo $?\n")
        # Nothing comes from a shell that has ended.
        told = self._bash.stdout.readline().strip()
        status = int(told) if told else self._bash.wait()
        if status == 0 and _BACKGROUND.search(commands):
            _wait_until_up(output)
        return status, self._back(output.read_text(errors="replace"))

    def close(self) -> None:
        """End the shell and all that it started."""
        for kill in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self._bash.pid, kill)
            with suppress(subprocess.TimeoutExpired):
                self._bash.wait(5)
        assert self._bash.stdin and self._bash.stdout
        self._bash.stdout.close()
        with suppress(BrokenPipeError):
            self._bash.stdin.close()

    def _elsewhere(self, commands: str) -> str:
        return _PORT.sub(lambda found: found[1] + self._other(found[2]), commands)

    def _other(self, port: str) -> str:
        return self._ports.setdefault(port, str(free_port()))

    def _back(self, output: str) -> str:
        for port, other in self._ports.items():
            output = re.sub(rf"\b{other}\b", port, output)
        return output


def check(opened: Shell, block: Block, where: str) -> None:
    """Run a block; it has to end and to print as it says."""
    commands = block.commands()
    for command in commands:
        status, got = opened.run(command.text, stop_at_failure=command.printed is None)
        expected = block.status if command == commands[-1] else 0
        told = f"{where}: {command.text}\nstatus {status}, not {expected}; it printed\n{got}"
        assert status == expected, told
        if command.printed is not None:
            assert shown(command.printed, got), (
                f"{where}: {command.text}\nit printed\n{got}\nand not\n{command.printed}"
            )


@contextmanager
def shell(clone: Clone, scratch: Path, images: Path) -> Iterator[Shell]:
    """A shell in a clone with an environment; nothing is on its path before it is activated.

    Args:
        clone: that it works in.
        scratch: an empty folder.
        images: of `CHEST_XRAY_DIR`.
    """
    _add_environment(clone.path / ".venv")
    tools = str(Path(sys.executable).parent)
    path = [entry for entry in os.environ["PATH"].split(os.pathsep) if entry != tools]
    opened = Shell(
        clone.path,
        scratch,
        clean_environment()
        | {
            "PATH": os.pathsep.join(path),
            # The environment that all clones share has the package of another one.
            "PYTHONPATH": str(clone.path / "src"),
            "CHEST_XRAY_DIR": str(images),
            "COLUMNS": "80",
            "GIT_AUTHOR_NAME": "Reader", "GIT_AUTHOR_EMAIL": "reader@example.org",
            "GIT_COMMITTER_NAME": "Reader", "GIT_COMMITTER_EMAIL": "reader@example.org",
        },
    )  # fmt: skip
    try:
        yield opened
    finally:
        opened.close()


def _add_environment(folder: Path) -> None:
    """This process's environment in place of one that `make` would install."""
    folder.mkdir()
    for entry in Path(sys.prefix).iterdir():
        if not entry.name.startswith(".installed"):
            (folder / entry.name).symlink_to(entry)
    for marker in (".installed", ".installed-dev", ".installed-search", ".installed-team"):
        (folder / marker).touch()


def _wait_until_up(output: Path, seconds: float = 120) -> None:
    """Until the last address that is printed answers."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.3)
        addresses = _ADDRESS.findall(output.read_text(errors="replace"))
        if not addresses:
            continue
        try:
            urllib.request.urlopen(addresses[-1], timeout=5)
        except urllib.error.HTTPError:
            return  # an answer, if a refusal
        except OSError:
            continue
        return
    raise AssertionError(f"no server answers:\n{output.read_text(errors='replace')}")
