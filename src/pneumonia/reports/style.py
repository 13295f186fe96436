"""The style of all figures. The same numbers give the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from matplotlib.figure import Figure


# Okabe & Ito (2008): colour-blind readers can distinguish them, and so can readers of a grey print.
INK, BLUE, ORANGE = "#1b1f24", "#0072b2", "#e69f00"
GREEN, PURPLE, GREY = "#009e73", "#cc79a7", "#8c959f"
CLASS_COLOURS = {"normal": BLUE, "pneumonia": ORANGE}
# Hatched, because orange and purple look alike in a grey print.
SUBTYPE_LOOKS: dict[str, dict[str, Any]] = {
    "normal": {"facecolor": BLUE, "hatch": ""},
    "bacteria": {"facecolor": ORANGE, "hatch": "////"},
    "virus": {"facecolor": PURPLE, "hatch": "...."},
    "unknown": {"facecolor": GREY, "hatch": "xxxx"},
}


class Look(NamedTuple):
    """How a model is drawn, in Matplotlib's words."""

    colour: str
    line: str
    marker: str


MODELS = {"scratch": Look(ORANGE, "-", "s"), "transfer": Look(BLUE, "--", "o")}
PROBE = Look(GREY, "", "D")
# Share of the colour map "Blues" above which white text has more contrast than black text. Both
# have at least 4.5 to 1 (WCAG 2).
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
    """Set the style. Figures are drawn to files, never to a screen."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams.update(_RC)


def save(figure: Figure, path: Path) -> None:
    """Write a PNG without Matplotlib's version in it."""
    import matplotlib.pyplot as plt

    figure.savefig(path, metadata={"Software": None})
    plt.close(figure)
