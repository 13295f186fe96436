"""The tests of the documentation find what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.blocks import Block, Command, DocumentError, blocks, shown
from tests.docs.shell import Shell, check
from tests.pipeline.clone import clean_environment


def test_blocks_and_their_marks() -> None:
    found = blocks(
        "# Title\n\n```sh\nls\n```\n\n- item\n\n  <!-- not run: no Docker -->\n  ```console\n"
        "  $ ls\n  ```\n\n<!-- exits 2 -->\n```console\n$ false\n```\n\n```{toctree}\npage\n```\n"
    )
    assert found == [
        Block("sh", "ls\n", 3, "", 0),
        Block("console", "$ ls\n", 10, "no Docker", 0),
        Block("console", "$ false\n", 15, "", 2),
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("```\nls\n```\n", "line 1: a block without a language"),
        ("text\n\n    ls\n", "line 3: an indented block"),
        ("<!-- not run: why -->\n\ntext\n", "line 1: a mark, and no block after it"),
        ("text\n\n<!-- not run: why -->\n", "line 3: a mark, and no block after it"),
        ("```{code-block} sh\nls\n```\n", "line 1: a directive"),
        ("<!-- exits 1 -->\n```sh\nfalse\n```\n", "line 2: a block that fails"),
    ],
)
def test_a_block_that_would_escape_is_found(text: str, problem: str) -> None:
    with pytest.raises(DocumentError, match=problem):
        blocks(text)


def test_a_console_block_is_commands_and_what_they_print() -> None:
    block = Block("console", "$ ls \\\n  -l\nfile\n\n$ true\n", 1, "", 0)
    assert block.commands() == [Command("ls \\\n  -l", "file\n"), Command("true", "")]
    with pytest.raises(DocumentError, match="begins with no"):
        Block("console", "ls\n", 1, "", 0).commands()


@pytest.mark.parametrize(
    ("printed", "got", "same"),
    [
        ("a\nb", "a\nb\n", True),
        ("a\nb", "a\nb\nc\n", False),
        ("a", "a  \n", True),
        ("a\n...\nb", "a\nb\n", True),
        ("a\n...\nb", "a\nx\n\ny\nb\n", True),
        ("...\nb", "a\nb\nc\n", False),
        ("auc ... [low]", "auc 0.93 [low]\n", True),
        ("auc ...", "auc\n0.93\n", False),
        ("a.c", "abc\n", False),
        ("", "", True),
        ("", "a\n", False),
    ],
)
def test_dots_stand_for_what_may_differ(printed: str, got: str, same: bool) -> None:
    assert shown(printed, got) is same


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Shell]:
    """A shell in an empty folder."""
    folder, scratch = tmp_path / "clone", tmp_path / "shell"
    folder.mkdir()
    scratch.mkdir()
    found = Shell(folder, scratch, clean_environment())
    yield found
    found.close()


def test_a_shell_remembers(opened: Shell) -> None:
    check(opened, Block("sh", "mkdir a\ncd a\nimage=1.png\n", 1, "", 0), "here")
    check(opened, Block("console", "$ basename $PWD; echo $image\na\n1.png\n", 1, "", 0), "here")


@pytest.mark.parametrize(
    "block",
    [
        Block("sh", "false\ntrue\n", 7, "", 0),
        Block("sh", "true\n", 7, "", 1),
        Block("console", "$ echo a\nb\n", 7, "", 0),
        Block("console", "$ echo a; false\na\n", 7, "", 0),
        Block("console", "$ no-such-command\n...\n", 7, "", 0),
    ],
)
def test_what_does_not_hold_is_told_with_its_line(opened: Shell, block: Block) -> None:
    with pytest.raises(AssertionError, match=r"README\.md:7: "):
        check(opened, block, "README.md:7")


def test_a_failure_that_is_told_is_none(opened: Shell) -> None:
    check(opened, Block("console", "$ echo a\na\n$ echo b; (exit 3)\nb\n", 1, "", 3), "here")
    check(opened, Block("sh", "true\n", 1, "", 0), "here")


def test_a_server_in_the_background_answers_on_another_port(opened: Shell) -> None:
    serving = "echo http://127.0.0.1:8080\npython -m http.server --bind 127.0.0.1 $PORT &  # 8080\n"
    check(opened, Block("sh", serving, 1, "", 0), "here")
    asking = (
        "$ curl -s -o page -w '%{http_code}\\n' http://127.0.0.1:8080/\n200\n$ echo $PORT\n8080\n"
    )
    check(opened, Block("console", asking, 1, "", 0), "here")
