"""The style of all figures. The same numbers give a file with the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from matplotlib.figure import Figure


# Colour-blind readers can distinguish these colours (Okabe & Ito 2008).
INK, BLUE, ORANGE = "#1b1f24", "#0072b2", "#e69f00"
GREEN, PURPLE, GREY = "#009e73", "#cc79a7", "#8c959f"
CLASS_COLOURS = {"normal": BLUE, "pneumonia": ORANGE}
# Subtypes also have a hatch, because orange and purple look alike in a grey print.
SUBTYPE_LOOKS: dict[str, dict[str, Any]] = {
    "normal": {"facecolor": BLUE, "hatch": ""},
    "bacteria": {"facecolor": ORANGE, "hatch": "////"},
    "virus": {"facecolor": PURPLE, "hatch": "...."},
    "unknown": {"facecolor": GREY, "hatch": "xxxx"},
}


class Look(NamedTuple):
    """The look of a model in figures; the values are Matplotlib's codes."""

    colour: str
    line: str
    marker: str


MODELS = {"scratch": Look(ORANGE, "-", "s"), "transfer": Look(BLUE, "--", "o")}
PROBE = Look(GREY, "", "D")
# A shade of the colour map "Blues", 0 to 1. Above it, white text has more contrast than black text.
# The better of the two has a contrast of at least 4.5 to 1 (WCAG 2).
DARK = 0.715
DPI = 150
_RC: dict[Any, Any] = {
    "figure.constrained_layout.use": True,
    "figure.dpi": 110,
    "savefig.dpi": DPI,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e8eb",
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
}


def apply() -> None:
    """Set the style of all figures. Figures are saved as files and never shown on a screen."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams.update(_RC)


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG and close it. The file does not contain Matplotlib's version."""
    import matplotlib.pyplot as plt

    figure.savefig(path, metadata={"Software": None})
    plt.close(figure)
