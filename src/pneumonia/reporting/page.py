"""Self-contained HTML pages: no script from elsewhere, every picture inside."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from pathlib import Path

import jinja2
from PIL import Image

from pneumonia.reporting.style import DPI


@dataclass(frozen=True)
class Figure:
    """A picture on a page: its file, what it shows in words, and a caption."""

    path: Path
    alt: str
    caption: str = ""

    @property
    def width(self) -> int:
        """Width on the page, CSS px, at which the picture's text has the size it was drawn in."""
        with Image.open(self.path) as image:
            return round(image.width * 96 / DPI)

    @property
    def source(self) -> str:
        """The picture as a data URI."""
        return "data:image/png;base64," + base64.b64encode(self.path.read_bytes()).decode()


@dataclass(frozen=True)
class Table:
    """A table on a page: column names, and rows of text."""

    columns: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class Section:
    """A heading with paragraphs, a table and figures, in that order."""

    title: str
    paragraphs: list[str] = field(default_factory=list)
    table: Table | None = None
    figures: list[Figure] = field(default_factory=list)


def write_page(path: Path, title: str, lead: str, sections: list[Section]) -> None:
    """Render a page. Texts are escaped; the same contents give the same bytes."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pneumonia.reporting"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    page = environment.get_template("page.html.j2")
    path.write_text(page.render(title=title, lead=lead, sections=sections), encoding="utf-8")
