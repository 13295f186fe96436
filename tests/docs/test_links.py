"""Links, make targets and outputs in the documents exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.docs.blocks import documents
from tests.pipeline.imports import ROOT

NAMES = [document.relative_to(ROOT).as_posix() for document in documents()]


def targets(text: str) -> list[str]:
    """The targets of links and pictures in a document, without web addresses."""
    urls = [
        str(token.attrs[key])
        for token in _inline(MarkdownIt("commonmark").enable("table").parse(text))
        for key in ("href", "src")
        if key in token.attrs
    ]
    return [target for target in urls if "://" not in target]


def _inline(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from _inline(token.children or [])


def test_targets_are_found() -> None:
    text = "[a](b.md#c) ![d](e.png)\n\n| [f](g.md) |\n| --- |\n\n[h](https://example.org)\n"
    assert targets(text) == ["b.md#c", "e.png", "g.md"]


@pytest.mark.parametrize("name", NAMES)
def test_every_linked_file_exists(name: str) -> None:
    folder = (ROOT / name).parent
    files = {target.partition("#")[0] for target in targets((ROOT / name).read_text())} - {""}
    assert {file for file in files if not (folder / file).exists()} == set()


@pytest.mark.parametrize("name", NAMES)
def test_every_named_make_target_exists(name: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = set(re.findall(r"(?:`|^|\$ )make ([a-z-]+)", (ROOT / name).read_text(), re.MULTILINE))
    assert {target for target in named if f"\n{target}:" not in makefile} == set()


def test_every_output_of_the_pipeline_is_described() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    outputs = [
        path
        for stage in stages.values()
        for kind in ("outs", "metrics", "plots")
        for entry in stage.get(kind, [])
        for path in entry
    ]
    described = set(re.findall("`([^`]+)`", (ROOT / "docs/reference/outputs.md").read_text()))
    assert {path for path in outputs if not {path, Path(path).name} & described} == set()
