"""HTML pages that need no other files: each page contains its scripts and images."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from pathlib import Path

import jinja2
from PIL import Image

from pneumonia.reports.style import DPI


@dataclass(frozen=True)
class PageFigure:
    """A figure on a page."""

    name: str  #: name of its PNG file in the folder of the page, without ".png"
    alt: str  #: a description for readers who cannot see the figure
    caption: str = ""


@dataclass(frozen=True)
class Table:
    """A table with column names, rows and a caption; the first cell of a row is its name."""

    columns: list[str]
    rows: list[list[str]]
    caption: str = ""


@dataclass(frozen=True)
class Thumbnail:
    """A small image in a gallery: PNG bytes, a description, and lines of text below it."""

    png: bytes
    alt: str
    lines: list[str]


@dataclass(frozen=True)
class HeatMapView:
    """One model's heat map of one image in several forms; each form is a PNG."""

    title: str  #: the text above the map
    line: str  #: the text below the map
    heat: bytes  #: the map in RGBA, to be shown on top of the image
    alone: bytes  #: the map without the image
    cells: bytes  #: the cells of the map, not smoothed
    against: bytes | None = None  #: map for the other class, RGBA; None: not shown


@dataclass(frozen=True)
class LayeredImage:
    """An image with layers, all PNGs of one size. Controls on the page show and hide the layers."""

    title: str  #: name of the image
    image: bytes  #: the grey image
    views: list[HeatMapView]  #: one view per model
    outline: bytes | None = None  #: the edge of the opacity, RGBA; None if not known


@dataclass(frozen=True)
class Section:
    """A heading, then paragraphs, a table, figures, thumbnails and layered images, in this order.

    A section of level 3 belongs to the section of level 2 before it.
    """

    title: str
    paragraphs: list[str] = field(default_factory=list)
    table: Table | None = None
    figures: list[PageFigure] = field(default_factory=list)
    thumbnails: list[Thumbnail] = field(default_factory=list)
    layered: list[LayeredImage] = field(default_factory=list)
    level: int = 2


def write_page(
    path: Path, title: str, lead: str, sections: list[Section], notice: str = "",
    contents: bool = False, opacity: float = 0.6,
) -> None:  # fmt: skip
    """Write an HTML page. Texts are escaped; the same arguments give the same bytes.

    Args:
        lead: the first paragraph.
        notice: a warning above the sections.
        contents: whether to list the sections of level 2 above them.
        opacity: opacity of the heat maps when the page opens, 0 to 1.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pneumonia.reports"), autoescape=True, trim_blocks=True,
        lstrip_blocks=True, undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.filters |= {
        "read": lambda name: (path.parent / f"{name}.png").read_bytes(),
        "size": lambda png: Image.open(io.BytesIO(png)).size,
        "uri": lambda png: "data:image/png;base64," + base64.b64encode(png).decode(),
    }
    page = environment.get_template("page.html.j2").render(
        title=title, lead=lead, sections=sections, notice=notice, contents=contents,
        layered=any(section.layered for section in sections), opacity=opacity, dpi=DPI,
    )  # fmt: skip
    # The no-break space keeps a number and its per cent sign on one line.
    path.write_text(page.replace(" %", "\N{NO-BREAK SPACE}%"), encoding="utf-8")


def markdown(title: str, lead: str, sections: list[Section], notice: str = "") -> str:
    """The text and tables of a page as Markdown, without images."""
    parts = [f"# {title}", *([f"> {notice}"] if notice else []), lead]
    for section in sections:
        parts += [f"{'#' * section.level} {section.title}", *section.paragraphs]
        if section.table:
            table = section.table
            parts += [table.caption] if table.caption else []
            lines = [table.columns, ["---"] * len(table.columns), *table.rows]
            cells = ([cell.replace("|", "\\|") for cell in line] for line in lines)
            parts.append("\n".join(f"| {' | '.join(line)} |" for line in cells))
    return "\n\n".join(parts) + "\n"
