"""The code blocks of a Markdown document, and how they are run.

- `sh`: commands. Every command must succeed.
- `python`: a program. It must succeed.
- `console`: lines `$ command`, each followed by its output. In the output a line `...` stands for
  any number of lines, and `...` within a line for any text. A command that ends with a backslash
  continues on the next line.
- `<!-- not run: REASON -->` on the line before a block: the block is not run.
- `<!-- exits STATUS -->` before a `console` block: its last command ends with this status.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.pipeline.imports import ROOT

RUN = ("sh", "console", "python")
SHOWN = ("yaml", "json", "text")
_CODE_DIRECTIVE = re.compile(r"\{(code|code-block|code-cell|sourcecode)\}")
_MARK = re.compile(r"<!-- (?:not run: (?P<reason>.+)|exits (?P<status>[1-9]\d*)) -->\s*")


class DocumentError(Exception):
    """A document breaks the rules in the docstring of this module."""


@dataclass(frozen=True)
class Command:
    """A command and its expected output; None if any output is right."""

    text: str
    output: str | None


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        language: the text after the opening fence.
        text: its lines.
        line: line number of the fence in the document, from 1.
        reason: why it is not run; "" if it is run.
        status: expected exit status of its last command.
        section: the second-level heading above it; "" before the first one.
    """

    language: str
    text: str
    line: int
    reason: str = ""
    status: int = 0
    section: str = ""

    def commands(self) -> list[Command]:
        """Its commands, in order; none if the language is not one that is run."""
        if self.language == "sh":
            return [Command(self.text, None)]
        if self.language == "python":
            return [Command(f"python - <<'END'\n{self.text}END\n", None)]
        return _session(self) if self.language == "console" else []


def documents() -> list[Path]:
    """Every document of the repository, in order."""
    return sorted([*ROOT.glob("*.md"), ROOT / "data/raw/README.md", *(ROOT / "docs").rglob("*.md")])


def blocks(text: str) -> list[Block]:
    """The code blocks of a document, without MyST directives (```{name}).

    Raises:
        DocumentError: an indented block, a block without a language, a code block written as a
            directive, a comment without a block after it, an exit status before an `sh` block.
    """
    found: list[Block] = []
    mark, mark_line, section = None, 0, ""
    tokens = MarkdownIt("commonmark").parse(text)
    for number, token in enumerate(tokens):
        line = token.map[0] + 1 if token.map else 0
        if mark and token.type != "fence":
            break
        if token.type == "code_block":
            raise DocumentError(f"line {line}: an indented block: fence it and name its language")
        if token.type == "heading_open" and token.tag == "h2":
            section = tokens[number + 1].content
        elif token.type == "html_block":
            mark, mark_line = _MARK.fullmatch(token.content), line
        elif token.type == "fence":
            block = _block(token, line, mark, section)
            found += [block] if block else []
            mark = None
    if mark:
        raise DocumentError(f"line {mark_line}: a comment for a block, and no block after it")
    return found


def _block(token: Token, line: int, mark: re.Match[str] | None, section: str) -> Block | None:
    """The block of a fence; None for a directive that is no code."""
    language = token.info.strip()
    if _CODE_DIRECTIVE.match(language):
        raise DocumentError(f"line {line}: a directive: write ```sh or ```console")
    if language.startswith("{"):
        return None
    if not language:
        raise DocumentError(f"line {line}: a block without a language")
    reason, status = (mark["reason"], mark["status"]) if mark else ("", "")
    if status and language != "console":
        # The shell of an `sh` block ends at a failure and would run no later block.
        raise DocumentError(f"line {line}: a block that fails: write it as ```console")
    return Block(language, token.content, line, reason or "", int(status or 0), section)


def matches(expected: str, printed: str) -> bool:
    """Whether the printed text is the expected one, where `...` stands for any text."""
    pattern = "".join(
        r"(?:.*\n)*?"
        if line == "..."
        else r"[^\n]*".join(map(re.escape, line.split("..."))) + r"\n"
        for line in _lines(expected)
    )
    return bool(re.fullmatch(pattern, "".join(f"{line}\n" for line in _lines(printed))))


def _lines(text: str) -> list[str]:
    """The lines of a text without spaces at their ends, without empty lines at both ends of it."""
    return [line.rstrip() for line in text.strip("\n").splitlines()]


def _session(block: Block) -> list[Command]:
    """The commands of a console block."""
    session: list[tuple[list[str], list[str]]] = []
    continues = False
    for line in block.text.splitlines():
        if continues:
            session[-1][0].append(line)
        elif line.startswith("$ "):
            session.append(([line.removeprefix("$ ")], []))
        elif session:
            session[-1][1].append(line)
        else:
            raise DocumentError(f"line {block.line}: a console block that does not begin with `$ `")
        continues = line.endswith("\\") and not session[-1][1]
    return [Command("\n".join(command), "\n".join(printed)) for command, printed in session]
