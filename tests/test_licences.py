"""The page of licences lists every locked package."""

from __future__ import annotations

import importlib.util
import re
from types import ModuleType

from tests.pipeline.imports import ROOT


def script(name: str) -> ModuleType:
    """A module of .ci."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f".ci/{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_locked_package_has_its_licence_on_the_page() -> None:
    licences = script("licences")
    rows = re.findall(r"^\| (\S+) \| (.+) \| (.+) \|$", licences.PAGE.read_text(), re.MULTILINE)
    listed = {name: where.split(", ") for name, _, where in rows[2:]}
    assert listed == licences.locked(ROOT), "locks changed since `make licences`"
    assert all(licence.strip() for _, licence, _ in rows)


def test_each_lock_has_a_purpose_on_the_page() -> None:
    assert {path.name for path in ROOT.glob("requirements*.txt")} == set(script("licences").LOCKS)


def test_copyleft_licences_are_listed_above_the_table() -> None:
    page = script("licences").page(
        {"a": "MIT", "b": "LGPL-3.0-only", "c": "Mozilla Public License 2.0 (MPL 2.0)"},
        {"a": ["image"], "b": ["team"], "c": ["pipeline", "image"]},
    )
    assert "copyleft licence: b, c." in page
    assert "| c | Mozilla Public License 2.0 (MPL 2.0) | pipeline, image |" in page
