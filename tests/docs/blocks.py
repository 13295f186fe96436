"""The code blocks of a Markdown document, and what is said about how to run them.

- `sh`: commands; every one has to succeed.
- `console`: lines `$ command`, each followed by what it prints; a line `...` there stands for any
  lines, `...` within a line for any text. A command whose line ends with a backslash goes on in
  the next one.
- `<!-- not run: REASON -->` on the line before a block keeps it from being run.
- `<!-- exits STATUS -->` before a `console` block says that its last command fails, and how.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.pipeline.imports import ROOT

RUN = ("sh", "console")
SHOWN = ("yaml", "json", "text", "python")
_CODE_DIRECTIVE = re.compile(r"\{(code|code-block|code-cell|sourcecode)\}")
_MARK = re.compile(r"<!-- (?:not run: (?P<reason>.+)|exits (?P<status>[1-9]\d*)) -->\s*")


class DocumentError(Exception):
    """A document that is not written as the module's docstring says."""


@dataclass(frozen=True)
class Command:
    """A command and what it is to print; None where nothing is said about it."""

    text: str
    printed: str | None


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        language: the first word after the fence.
        text: its lines.
        line: of the fence in the document, from 1.
        reason: why it is not run; "" if it is.
        status: that its last command ends with.
    """

    language: str
    text: str
    line: int
    reason: str
    status: int

    def commands(self) -> list[Command]:
        """What is to be typed, in order; nothing of a block that is not run."""
        if self.language == "sh":
            return [Command(self.text, None)]
        return _session(self) if self.language == "console" else []


def documents() -> list[Path]:
    """Every document of the repository, in order."""
    return sorted([*ROOT.glob("*.md"), ROOT / "data/raw/README.md", *(ROOT / "docs").rglob("*.md")])


def blocks(text: str) -> list[Block]:
    """The code blocks of a document; MyST's directives, ```{name}, are none.

    Raises:
        DocumentError: an indented block, a block without a language or as a directive, a mark
            before nothing, a failure without what it prints.
    """
    found, mark, marked = [], None, 0
    for token in MarkdownIt("commonmark").parse(text):
        line = token.map[0] + 1 if token.map else 0
        if mark and token.type != "fence":
            break
        if token.type == "code_block":
            raise DocumentError(f"line {line}: an indented block: fence it, and name its language")
        if token.type == "html_block":
            mark, marked = _MARK.fullmatch(token.content), line
        elif token.type == "fence":
            block = _block(token, line, mark)
            found += [block] if block else []
            mark = None
    if mark:
        raise DocumentError(f"line {marked}: a mark, and no block after it")
    return found


def _block(token: Token, line: int, mark: re.Match[str] | None) -> Block | None:
    """A fence's block; None of a directive."""
    language = token.info.strip()
    if _CODE_DIRECTIVE.match(language):
        raise DocumentError(f"line {line}: a directive: write ```sh or ```console")
    if language.startswith("{"):
        return None
    if not language:
        raise DocumentError(f"line {line}: a block without a language")
    reason, status = (mark["reason"], mark["status"]) if mark else ("", "")
    if status and language != "console":
        # A shell that ends at a failure runs no later block.
        raise DocumentError(f"line {line}: a block that fails: show what it prints, in a console")
    return Block(language, token.content, line, reason or "", int(status or 0))


def shown(printed: str, got: str) -> bool:
    """Whether the output that a document shows is what was printed."""
    pattern = "".join(
        r"(?:.*\n)*?"
        if line == "..."
        else r"[^\n]*".join(map(re.escape, line.split("..."))) + r"\n"
        for line in _lines(printed)
    )
    return bool(re.fullmatch(pattern, "".join(f"{line}\n" for line in _lines(got))))


def _lines(text: str) -> list[str]:
    """Without space at the ends, and without empty lines before and after."""
    return [line.rstrip() for line in text.strip("\n").splitlines()]


def _session(block: Block) -> list[Command]:
    typed: list[tuple[list[str], list[str]]] = []
    goes_on = False
    for line in block.text.splitlines():
        if goes_on:
            typed[-1][0].append(line)
        elif line.startswith("$ "):
            typed.append(([line.removeprefix("$ ")], []))
        elif typed:
            typed[-1][1].append(line)
        else:
            raise DocumentError(f"line {block.line}: a console block that begins with no `$ `")
        goes_on = line.endswith("\\") and not typed[-1][1]
    return [Command("\n".join(command), "\n".join(printed)) for command, printed in typed]
