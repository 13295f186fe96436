"""The code blocks of a Markdown document, and what is said about how to run them.

- `sh`: commands; every one has to succeed.
- `console`: lines `$ command`, each followed by what it prints; a line `...` there stands for any
  lines, `...` within a line for any text. A command whose line ends with a backslash goes on in
  the next one.
- `<!-- not run: REASON -->` on the line before a block keeps it from being run.
- `<!-- exits STATUS -->` there says that the block's last command fails, and how.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

from tests.pipeline.imports import ROOT

RUN = ("sh", "console")
SHOWN = ("yaml", "json", "text", "python")
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
        DocumentError: an indented block, a block without a language, a mark before nothing.
    """
    found, mark, marked = [], None, 0
    for token in MarkdownIt("commonmark").parse(text):
        line = token.map[0] + 1 if token.map else 0
        if mark and token.type != "fence":
            raise DocumentError(f"line {marked}: a mark, and no block after it")
        if token.type == "code_block":
            raise DocumentError(f"line {line}: an indented block: fence it, and name its language")
        if token.type == "html_block":
            mark, marked = _MARK.fullmatch(token.content), line
        elif token.type == "fence" and not token.info.startswith("{"):
            if not token.info.strip():
                raise DocumentError(f"line {line}: a block without a language")
            reason, status = (mark["reason"], mark["status"]) if mark else ("", "")
            found.append(
                Block(token.info.strip(), token.content, line, reason or "", int(status or 0))
            )
            mark = None
    return found


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
