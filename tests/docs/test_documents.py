"""Every command in the documentation does what the documentation says.

A document is run in order, in one shell and one clone with params for a tiny phantom: README.md
from a clean clone, the others from where its `make repro` leaves one.
"""

from __future__ import annotations

import json
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


def runnable(name: str) -> list[Block]:
    """The blocks of a document that are run."""
    found = blocks((ROOT / name).read_text(encoding="utf-8"))
    return [block for block in found if block.language in RUN and not block.reason]


def has_commands(name: str) -> bool:
    """Whether a document is to be run; one that cannot be read fails then."""
    try:
        return bool(runnable(name))
    except DocumentError:
        return True


WITH_COMMANDS = [name for name in NAMES if has_commands(name)]


@pytest.mark.parametrize("name", NAMES)
def test_every_block_is_one_that_is_checked(name: str) -> None:
    for block in blocks((ROOT / name).read_text(encoding="utf-8")):
        assert block.language in RUN + SHOWN, f"{name}:{block.line}"
        if block.language == "yaml":
            yaml.safe_load(block.text)
        if block.language == "json":
            json.loads(block.text)
        assert block.language in RUN or not block.reason, f"{name}:{block.line}"
        block.commands()


def test_hardly_any_block_is_left_out() -> None:
    found = [block for name in NAMES for block in blocks((ROOT / name).read_text())]
    left_out = [block for block in found if block.reason]
    assert len(left_out) < 0.25 * len([block for block in found if block.language in RUN])


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn images in the Kaggle layout, in the place of those that CHEST_XRAY_DIR names."""
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
        read = image.read()
        file.write_bytes(read[0] if isinstance(read, tuple) else read)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "name",
    # It trains on a clinic's images, a whole pipeline more.
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
    with shell(clone, scratch, images) as opened:
        for block in runnable(name):
            check(opened, block, f"{name}:{block.line}")
