"""The runner of the documentation's commands notices what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.blocks import Block, Command, DocumentError, blocks, matches
from tests.docs.shell import Shell, check
from tests.pipeline.clone import clean_environment


def test_blocks_with_their_comments_and_sections() -> None:
    found = blocks(
        "# Title\n\n```sh\nls\n```\n\n## Part\n\n- item\n\n  <!-- not run: no Docker -->\n"
        "  ```console\n  $ ls\n  ```\n\n<!-- exits 2 -->\n```console\n$ false\n```\n\n"
        "```{toctree}\npage\n```\n"
    )
    assert found == [
        Block("sh", "ls\n", 3),
        Block("console", "$ ls\n", 12, reason="no Docker", section="Part"),
        Block("console", "$ false\n", 17, status=2, section="Part"),
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("```\nls\n```\n", "line 1: a block without a language"),
        ("text\n\n    ls\n", "line 3: an indented block"),
        ("<!-- not run: why -->\n\ntext\n", "line 1: a comment for a block, and no block"),
        ("text\n\n<!-- not run: why -->\n", "line 3: a comment for a block, and no block"),
        ("```{code-block} sh\nls\n```\n", "line 1: a directive"),
        ("<!-- exits 1 -->\n```sh\nfalse\n```\n", "line 2: a block that fails"),
    ],
)
def test_a_block_that_would_not_be_checked_is_an_error(text: str, problem: str) -> None:
    with pytest.raises(DocumentError, match=problem):
        blocks(text)


def test_a_python_block_is_a_program() -> None:
    [command] = Block("python", "print(1)\n", 1).commands()
    assert command == Command("python - <<'END'\nprint(1)\nEND\n", None)


def test_a_console_block_has_commands_and_their_output() -> None:
    block = Block("console", "$ ls \\\n  -l\nfile\n\n$ true\n", 1)
    assert block.commands() == [Command("ls \\\n  -l", "file\n"), Command("true", "")]
    with pytest.raises(DocumentError, match="does not begin with"):
        Block("console", "ls\n", 1).commands()


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
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
def test_dots_stand_for_any_text(expected: str, printed: str, same: bool) -> None:
    assert matches(expected, printed) is same


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Shell]:
    """A shell in an empty folder."""
    folder, scratch = tmp_path / "clone", tmp_path / "shell"
    folder.mkdir()
    scratch.mkdir()
    session = Shell(folder, scratch, clean_environment())
    yield session
    session.close()


def test_a_shell_keeps_folder_and_variables(session: Shell) -> None:
    check(session, Block("sh", "mkdir a\ncd a\nimage=1.png\n", 1), "here")
    check(session, Block("console", "$ basename $PWD; echo $image\na\n1.png\n", 1), "here")


@pytest.mark.parametrize(
    "block",
    [
        Block("sh", "false\ntrue\n", 7),
        Block("sh", "true\n", 7, status=1),
        Block("python", "assert 1 == 2\n", 7),
        Block("console", "$ echo a\nb\n", 7),
        Block("console", "$ echo a; false\na\n", 7),
        Block("console", "$ no-such-command\n...\n", 7),
    ],
)
def test_a_failure_names_document_and_line(session: Shell, block: Block) -> None:
    with pytest.raises(AssertionError, match=r"README\.md:7: "):
        check(session, block, "README.md:7")


def test_an_expected_exit_status_is_no_failure(session: Shell) -> None:
    check(session, Block("console", "$ echo a\na\n$ echo b; (exit 3)\nb\n", 1, status=3), "here")
    check(session, Block("sh", "true\n", 1), "here")


def test_a_program_runs_in_the_folder_of_the_shell(session: Shell) -> None:
    check(session, Block("python", "from pathlib import Path\nPath('a').mkdir()\n", 1), "here")
    check(session, Block("console", "$ ls\na\n", 1), "here")


def test_a_server_in_the_background_answers_on_another_port(session: Shell) -> None:
    serve = "echo http://127.0.0.1:8080\npython -m http.server --bind 127.0.0.1 $PORT &  # 8080\n"
    check(session, Block("sh", serve, 1), "here")
    request = (
        "$ curl -s -o page -w '%{http_code}\\n' http://127.0.0.1:8080/\n200\n$ echo $PORT\n8080\n"
    )
    check(session, Block("console", request, 1), "here")
