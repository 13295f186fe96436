"""Every command in the documentation does what the documentation says.

The blocks of a document run in order, in one shell and one clone with params for a tiny phantom:
README.md in a clean clone, the other documents in a clone after `make repro`.

CONTRIBUTING.md has recipes: sections `Add a ...`. A recipe may change three files at most.
"""

from __future__ import annotations

import hashlib
import json
from itertools import groupby
from pathlib import Path

import pytest
import yaml

from pneumonia.datasets.sources import open_source
from tests.conftest import phantom_params
from tests.docs.blocks import RUN, SHOWN, Block, DocumentError, blocks, documents
from tests.docs.shell import check, shell
from tests.pipeline.clone import Clone, make_clone
from tests.pipeline.imports import ROOT

NAMES = [document.relative_to(ROOT).as_posix() for document in documents()]
FROM_A_CLEAN_CLONE = ("README.md",)
RECIPES = (
    "source", "backbone", "metric", "stage", "shift", "warning", "augmentation", "REST",
)  # fmt: skip
MOST_FILES = 3  # that a recipe changes
# Written by DVC, not by the person who follows a recipe.
GENERATED = ("dvc.lock", ".gitignore")


def runnable(name: str) -> list[Block]:
    """The blocks of a document that are run."""
    found = blocks((ROOT / name).read_text(encoding="utf-8"))
    return [block for block in found if block.language in RUN and not block.reason]


def has_commands(name: str) -> bool:
    """Whether a document is run; one with an error is, so that its test fails."""
    try:
        return bool(runnable(name))
    except DocumentError:
        return True


def recipes() -> dict[str, list[Block]]:
    """The blocks of each recipe of CONTRIBUTING.md, by heading."""
    sections = groupby(runnable("CONTRIBUTING.md"), lambda block: block.section)
    return {name: list(of_one) for name, of_one in sections if name.startswith("Add a")}


def source_files(clone: Clone) -> dict[str, str]:
    """SHA-256 of each file that git tracks or would track, by name, without generated ones."""
    listed = clone.run("git", "ls-files", "--cached", "--others", "--exclude-standard")
    files = [clone.path / name for name in listed.stdout.splitlines()]
    return {
        file.relative_to(clone.path).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
        if file.is_file() and file.name not in GENERATED
    }


WITH_COMMANDS = [name for name in NAMES if has_commands(name)]


@pytest.mark.parametrize("name", NAMES)
def test_every_block_has_a_language_that_is_checked(name: str) -> None:
    for block in blocks((ROOT / name).read_text(encoding="utf-8")):
        assert block.language in RUN + SHOWN, f"{name}:{block.line}"
        if block.language == "yaml":
            yaml.safe_load(block.text)
        if block.language == "json":
            json.loads(block.text)
        if block.language == "python":
            compile(block.text, f"{name}:{block.line}", "exec")
        assert block.language in RUN or not block.reason, f"{name}:{block.line}"
        block.commands()


def test_most_blocks_with_commands_are_run() -> None:
    found = [block for name in NAMES for block in blocks((ROOT / name).read_text())]
    not_run = [block for block in found if block.reason]
    assert len(not_run) < 0.25 * len([block for block in found if block.language in RUN])


def test_every_recipe_is_there_and_is_run() -> None:
    headings = list(recipes())
    missing = {word for word in RECIPES if not any(word in heading for heading in headings)}
    assert missing == set()
    not_run = [block for block in blocks((ROOT / "CONTRIBUTING.md").read_text()) if block.reason]
    assert not [block for block in not_run if block.section in headings]


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn images in the Kaggle layout, for `CHEST_XRAY_DIR`."""
    folder = tmp_path_factory.mktemp("images") / "chest_xray"
    for image in open_source(phantom_params(60)):
        patient = image.patient_id.rpartition("-")[2]
        name = f"person{patient}_{image.subtype}_{Path(image.file).stem}.png"
        label = "PNEUMONIA" if image.label else "NORMAL"
        if image.subtype == "normal":
            name = f"IM-{patient}-{Path(image.file).stem}.png"
        split = "test" if image.split == "test" else "train"
        file = folder / split / label / name
        file.parent.mkdir(parents=True, exist_ok=True)
        content = image.read()
        file.write_bytes(content[0] if isinstance(content, tuple) else content)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "name",
    # own-images.md runs a whole pipeline more, on a clinic's images.
    [
        pytest.param(name, marks=[pytest.mark.long] if name.endswith("own-images.md") else [])
        for name in WITH_COMMANDS
    ],
)
def test_the_commands_do_what_the_document_says(
    name: str, images: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if name in FROM_A_CLEAN_CLONE:
        (tmp_path / "clone").mkdir()
        clone = make_clone(tmp_path / "clone")
    else:
        reproduced: Clone = request.getfixturevalue("reproduced")
        clone = reproduced.copy(tmp_path / "clone")
    scratch = tmp_path / "shell"
    scratch.mkdir()
    with shell(clone, scratch, images) as session:
        for section, of_section in groupby(runnable(name), lambda block: block.section):
            before = source_files(clone)
            for block in of_section:
                check(session, block, f"{name}:{block.line}")
            if name == "CONTRIBUTING.md" and section in recipes():
                after = source_files(clone)
                changed = {file for file, _ in before.items() ^ after.items()}
                assert len(changed) <= MOST_FILES, f"{section}: {sorted(changed)}"
