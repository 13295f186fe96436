"""Rules for the whole tree: its words, the size of modules, and what may not be in git."""

from __future__ import annotations

import ast
import re
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from tests.pipeline.imports import PACKAGE, ROOT

# The pixels are an image or an X-ray; earlier versions called them by the name of the sheet.
OLD_TERM = "fil" + "m"  # in two parts, because this file is searched, too
MAY_SAY_IT = ("CHANGELOG.md", "docs/reference/glossary.md")
MOST_USES = 20
LONGEST_MODULE = 650  # lines
ROOMS = sorted(path.parent for path in PACKAGE.glob("*/__init__.py"))
MODULES = sorted(PACKAGE.rglob("*.py"))
# An address of a package index belongs into the settings of a machine.
INDEX = re.compile(
    r"(index-url|find-links)[ =]+(https?|file)|https?://[^ ]*/(simple|packages/[0-9a-f]{2})/"
)


def tracked_texts() -> dict[str, str]:
    """The text files that git tracks or would track, by name."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    texts = {}
    for name in listed.stdout.splitlines():
        try:
            texts[name] = (ROOT / name).read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError):
            continue  # an image or a font; a file that is deleted and not yet committed
    return texts


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_an_image_is_called_an_image() -> None:
    word = re.compile(rf"(?<![a-z]){OLD_TERM}s?(?![a-z])", re.IGNORECASE)
    uses = {name: len(word.findall(text)) for name, text in tracked_texts().items()}
    assert {name for name, count in uses.items() if count} <= set(MAY_SAY_IT)
    assert sum(uses.values()) <= MOST_USES


def test_no_address_of_a_package_index_is_in_git() -> None:
    found = {name for name, text in tracked_texts().items() if INDEX.search(text)}
    assert found - {relative(Path(__file__))} == set()


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_a_room_has_a_docstring_and_imports_nothing(room: Path) -> None:
    tree = ast.parse((room / "__init__.py").read_text(encoding="utf-8"))
    docstring = ast.get_docstring(tree) or ""
    assert len(docstring.splitlines()) >= 3, "what it is, what it may import, where to begin"
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]


def test_no_module_is_too_long() -> None:
    lengths = {relative(path): len(path.read_text().splitlines()) for path in MODULES}
    assert {name: count for name, count in lengths.items() if count > LONGEST_MODULE} == {}


def test_a_class_name_is_used_once_in_the_package() -> None:
    places = defaultdict(list)
    for path in MODULES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                places[node.name].append(relative(path))
    assert {name: files for name, files in places.items() if len(files) > 1} == {}
