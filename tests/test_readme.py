"""The README points at what is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()


def test_every_link_to_a_file_has_its_file() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", TEXT) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).is_file()] == []


def test_every_make_target_named_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = set(re.findall(r"(?:`|^)make ([a-z-]+)", TEXT, re.MULTILINE))
    assert {"repro", "test"} <= named
    assert {name for name in named if f"\n{name}:" not in makefile} == set()


def test_nothing_is_left_to_fill_in() -> None:
    assert re.findall(r"\b[A-Z]+_TABLE\b", TEXT) == []
