"""Self-contained HTML pages: no script from elsewhere, every picture inside."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from pathlib import Path

import jinja2
from PIL import Image

from pneumonia.reports.style import DPI


@dataclass(frozen=True)
class ReportFigure:
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
        return _data_uri(self.path.read_bytes())


@dataclass(frozen=True)
class Table:
    """A table on a page: column names, rows of text whose first cell names the row, a caption."""

    columns: list[str]
    rows: list[list[str]]
    caption: str = ""


@dataclass(frozen=True)
class Thumbnail:
    """A small picture in a gallery: PNG bytes, what it shows in words, and lines below it."""

    png: bytes
    alt: str
    lines: list[str]

    @property
    def source(self) -> str:
        """The picture as a data URI."""
        return _data_uri(self.png)


@dataclass(frozen=True)
class HeatMapView:
    """A model's layers over an image.

    Attributes:
        title, line: above and below them.
        heat: PNG, RGBA, to lay over the image.
        alone: PNG, the same map without the image.
        cells: PNG, the map's own grid.
        against: PNG, RGBA, the map for the other class; None: not shown.
    """

    title: str
    line: str
    heat: bytes
    alone: bytes
    cells: bytes
    against: bytes | None = None


@dataclass(frozen=True)
class Layered:
    """An image with layers that the page's controls show and hide; all PNG, of one size.

    Attributes:
        title: names the image.
        image: grey.
        views: by model.
        outline: RGBA, the edge of what is known to be there; None where nothing is.
    """

    title: str
    image: bytes
    views: list[HeatMapView]
    outline: bytes | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Width and height, px."""
        with Image.open(io.BytesIO(self.image)) as image:
            return image.size


@dataclass(frozen=True)
class Section:
    """A heading with paragraphs, a table, figures, images and layered images, in that order.

    One of level 3 belongs to the one of level 2 before it.
    """

    title: str
    paragraphs: list[str] = field(default_factory=list)
    table: Table | None = None
    figures: list[ReportFigure] = field(default_factory=list)
    images: list[Thumbnail] = field(default_factory=list)
    layered: list[Layered] = field(default_factory=list)
    level: int = 2


def write_page(
    path: Path,
    title: str,
    lead: str,
    sections: list[Section],
    notice: str = "",
    contents: bool = False,
    opacity: float = 0.6,
) -> None:
    """Render a page. Texts are escaped; the same contents give the same bytes.

    Args:
        path: where to.
        title, lead: at its head.
        sections: below each other.
        notice: a warning at its head.
        contents: whether to list the sections of level 2 at its head.
        opacity: of the layers over images at first, 0 to 1.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pneumonia.reports"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["uri"] = _data_uri
    page = environment.get_template("page.html.j2").render(
        title=title, lead=lead, sections=sections, notice=notice, contents=contents,
        layered=any(section.layered for section in sections), opacity=opacity,
    )  # fmt: skip
    path.write_text(page, encoding="utf-8")


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


def markdown(title: str, lead: str, sections: list[Section], notice: str = "") -> str:
    """The same as Markdown, without the pictures."""
    parts = [f"# {title}", *([f"> {notice}"] if notice else []), lead]
    for section in sections:
        parts += [f"{'#' * section.level} {section.title}", *section.paragraphs]
        if section.table:
            table = section.table
            lines = [table.columns, ["---"] * len(table.columns), *table.rows]
            if table.caption:
                parts.append(table.caption)
            parts.append("\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines))
    return "\n\n".join(parts) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
