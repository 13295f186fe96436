"""The page's files keep to its policy and agree with each other and with the package."""

from __future__ import annotations

import json
import re
import tomllib
from fnmatch import fnmatch
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import pytest

from pneumonia.inference import overlay
from pneumonia.inference.predictor import NOTICE
from tests.pipeline.imports import ROOT

STATIC = Path(str(resources.files("pneumonia.server") / "static"))
SCRIPTS = sorted(STATIC.glob("*.js"))
OURS = ("/static/", "/openapi.json", "/model/card", "#")
# What the policy forbids, and what would turn a file's name into HTML.
FORBIDDEN = re.compile(
    r"\beval\b|new Function|innerHTML|outerHTML|insertAdjacentHTML|document\.write|\bstyle=|"
    r"setAttribute\(\"(style|on)|localStorage|sessionStorage|indexedDB|document\.cookie|https?://"
)


class Page(HTMLParser):
    """Elements with their attributes, and the text within them by tag."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, str] = {}
        self._open = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open = tag

    def handle_data(self, data: str) -> None:
        self.text[self._open] = self.text.get(self._open, "") + data

    def values(self, *names: str) -> list[str]:
        """Values of attributes, of all elements."""
        return [str(given[name]) for _, given in self.elements for name in names if name in given]


@pytest.fixture(scope="module")
def page() -> Page:
    return Page((STATIC / "index.html").read_text())


def test_the_page_has_no_inline_script_style_or_handler(page: Page) -> None:
    assert "style" not in page.text
    assert not page.text.get("script", "").strip()
    assert not [name for _, given in page.elements for name in given if name.startswith("on")]
    assert not page.values("style")


def test_the_page_loads_and_links_nothing_from_elsewhere(page: Page) -> None:
    addresses = page.values("href", "src", "action", "srcset")
    assert addresses
    assert [address for address in addresses if not address.startswith(OURS)] == []
    for address in addresses:
        if address.startswith("/static/"):
            assert (STATIC / address.removeprefix("/static/")).is_file(), address


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_scripts_keep_to_the_policy_and_import_files_that_exist(script: Path) -> None:
    text = script.read_text()
    assert FORBIDDEN.search(text) is None
    for name in re.findall(r'from "([^"]+)"', text):
        assert name.startswith("./")
        assert (STATIC / name).is_file(), name


def test_the_style_loads_nothing() -> None:
    style = (STATIC / "page.css").read_text()
    assert re.search(r"url\(|@import|https?:", style) is None


def test_ids_are_unique_and_those_that_are_used_exist(page: Page) -> None:
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    used = set(page.values("for", "aria-labelledby", "aria-describedby"))
    for script in SCRIPTS:
        used |= set(re.findall(r'byId\("([^"]+)"\)', script.read_text()))
    used |= set(re.findall(r"#([a-z][\w-]*)[^{};]*\{", (STATIC / "page.css").read_text()))
    assert len(used) > 40
    assert used - set(ids) == set()


def test_the_notice_is_the_predictors() -> None:
    text = (STATIC / "index.html").read_text()
    found = re.search(r'<p id="notice"[^>]*>(.*?)</p>', text)
    assert found is not None
    assert re.sub(r"<[^>]+>", "", found[1]) == NOTICE


def test_the_page_draws_in_the_colours_of_the_overlay() -> None:
    found = re.search(r"INFERNO = (\[.*?\]);", (STATIC / "map.js").read_text(), re.DOTALL)
    assert found is not None
    colours = json.loads(re.sub(r",\s*\]", "]", found[1]))
    assert colours == overlay._INFERNO.tolist()


def test_the_package_has_every_file_of_the_page() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = settings["tool"]["setuptools"]["package-data"]["pneumonia"]
    for file in STATIC.iterdir():
        name = f"server/static/{file.name}"
        assert any(fnmatch(name, pattern) for pattern in patterns), name
