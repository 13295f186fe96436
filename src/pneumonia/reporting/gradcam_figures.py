"""The figures of `gradcam_report`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray

from pneumonia.explain.overlay import overlay
from pneumonia.reporting.style import BLUE, MODEL_COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Explained:
    """What a model said of a film, and where it looked.

    Attributes:
        probability, threshold: 0 to 1.
        heat_map: float32, (h, w).
        scale: value shown as the hottest colour.
    """

    probability: float
    threshold: float
    heat_map: NDArray[np.float32]
    scale: float


@dataclass(frozen=True)
class Exhibit:
    """A film of a gallery: pixels uint8 (S, S), its mask if known, and each model's answer."""

    image_id: str
    film: NDArray[np.uint8]
    mask: NDArray[np.bool_] | None
    answers: dict[str, Explained]


def gallery(exhibits: list[Exhibit], opacity: float) -> Figure:
    """A column a film; in rows the film itself and each model's overlay on it."""
    models = list(exhibits[0].answers)
    columns = max(3, len(exhibits))
    figure, axes = plt.subplots(
        1 + len(models), columns, figsize=(2.1 * columns, 2.25 * (1 + len(models))), squeeze=False
    )
    for axis in axes.flat:
        axis.set_axis_off()
    for column, exhibit in enumerate(exhibits):
        _show(axes[0, column], exhibit, exhibit.film, f"film {exhibit.image_id[:8]}")
        for row, model in enumerate(models, start=1):
            answer = exhibit.answers[model]
            sign = "≥" if answer.probability >= answer.threshold else "<"
            title = f"{model}  {answer.probability:.3f} {sign} {answer.threshold:.3f}"
            laid = overlay(exhibit.film, answer.heat_map, answer.scale, opacity)
            _show(axes[row, column], exhibit, laid, title)
    return figure


def _show(axis: Axes, exhibit: Exhibit, pixels: NDArray[np.uint8], title: str) -> None:
    axis.imshow(pixels, cmap="gray", vmin=0, vmax=255)
    axis.set_title(title, fontsize=8, fontweight="normal")
    if exhibit.mask is not None:
        # White below colour, so that the line is seen on the film and on the map.
        axis.contour(exhibit.mask, [0.5], colors="white", linewidths=1.6)
        axis.contour(exhibit.mask, [0.5], colors=BLUE, linewidths=0.8)


def map_scores(figures: dict[str, dict[str, float]]) -> Figure:
    """The numbers on the maps as bars, a group a figure, a bar a model."""
    names = [name for name in next(iter(figures.values())) if not name.endswith("_area")]
    figure, axis = plt.subplots(figsize=(6.4, 2.7))
    width = 0.8 / len(figures)
    for number, (model, values) in enumerate(figures.items()):
        places = np.arange(len(names)) + (number - (len(figures) - 1) / 2) * width
        heights = [values[name] for name in names]
        axis.bar(places, heights, width, label=model, color=MODEL_COLOURS[model])
        for place, height in zip(places, heights, strict=True):
            axis.text(place, height, f"{height:.2f}", ha="center", va="bottom")
    axis.set_xticks(range(len(names)), [name.replace("_", " ") for name in names])
    axis.set(title="Heat maps of the pneumonia films of test", ylim=(0, 1.1), ylabel="share")
    axis.grid(axis="x", visible=False)
    axis.legend(loc="upper right")
    return figure
