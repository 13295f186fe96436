"""The figures of `gradcam_report`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumonia.explain.overlay import heat_layer, overlay
from pneumonia.reporting.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    MODEL_COLOURS,
    ORANGE,
    PURPLE,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ORDERS = {
    "map": ("its map", BLUE, "-", "o"),
    "other_image": ("another image's map", PURPLE, "-.", "D"),
    "edges": ("the strongest edges (Sobel)", ORANGE, "--", "s"),
    "random": ("chance", GREY, ":", "^"),
}


@dataclass(frozen=True)
class Explained:
    """What a model said of an image, and where it looked.

    Attributes:
        probability, threshold: 0 to 1.
        heat_map: for PNEUMONIA, float32, (h, w).
        against: for NORMAL, likewise.
        scale: value shown as the hottest colour.
    """

    probability: float
    threshold: float
    heat_map: NDArray[np.float32]
    against: NDArray[np.float32]
    scale: float

    @property
    def called(self) -> bool:
        """Whether the image is called PNEUMONIA."""
        return self.probability >= self.threshold


@dataclass(frozen=True)
class Exhibit:
    """An image of a gallery, and each model's answer.

    Attributes:
        image_id: of the manifest.
        subtype: likewise.
        image: uint8, (S, S).
        box: rows and columns of the square that the image fills.
        mask: bool, (S, S); None where unknown.
        answers: by model.
    """

    image_id: str
    subtype: str
    image: NDArray[np.uint8]
    box: tuple[slice, slice]
    mask: NDArray[np.bool_] | None
    answers: dict[str, Explained]


def gallery(exhibits: list[Exhibit], opacity: float) -> Figure:
    """A row an image: the image, then each model's overlay on it and the map's own cells."""
    if not exhibits:
        figure, axis = plt.subplots(figsize=(4.2, 1.2))
        axis.set_axis_off()
        axis.text(0, 0.5, "no such image", va="center")
        return figure
    models = list(exhibits[0].answers)
    rows, columns = len(exhibits), 1 + 2 * len(models)
    figure, axes = plt.subplots(rows, columns, figsize=(2.1 * columns, 2.25 * rows), squeeze=False)
    for row, exhibit in zip(axes, exhibits, strict=True):
        title = f"image {exhibit.image_id[:8]} ({exhibit.subtype})"
        _show(row[0], exhibit, exhibit.image, title)
        for number, model in enumerate(models):
            answer = exhibit.answers[model]
            sign = "≥" if answer.called else "<"
            title = f"{model}  {answer.probability:.3f} {sign} {answer.threshold:.3f}"
            laid = overlay(exhibit.image, answer.heat_map, answer.scale, opacity)
            cells = heat_layer(answer.heat_map, answer.scale, len(exhibit.image), cells=True)
            _show(row[1 + 2 * number], exhibit, laid, title)
            _show(row[2 + 2 * number], exhibit, cells, f"{model}, cells")
    return figure


def _show(axis: Axes, exhibit: Exhibit, pixels: NDArray[np.uint8], title: str) -> None:
    axis.imshow(pixels[exhibit.box], cmap="gray", vmin=0, vmax=255)
    axis.set_axis_off()
    axis.set_title(title, fontsize=8, fontweight="normal")
    if exhibit.mask is not None:
        outline(axis, exhibit.mask[exhibit.box])


def outline(axis: Axes, mask: NDArray[np.bool_]) -> None:
    """Draw the edge of a mask: white below colour, to be seen on the image and on the map."""
    axis.contour(mask, [0.5], colors="white", linewidths=1.6)
    axis.contour(mask, [0.5], colors=BLUE, linewidths=0.8)


def map_scores(figures: dict[str, dict[str, Any]]) -> Figure:
    """Where the maps' energy lies, bars by model.

    Dashed, what an even map has there; dotted, what another image's map has.
    """
    chance = {"border_energy": "border_area"}
    if "energy_inside" in next(iter(figures.values())):
        chance |= {"energy_inside": "mask_area", "pointing_game": "mask_area"}
    figure, axis = plt.subplots(figsize=(6.4, 3.0))
    width = 0.8 / len(figures)
    for number, (model, values) in enumerate(figures.items()):
        for place, (name, area) in enumerate(chance.items()):
            where = place + (number - (len(figures) - 1) / 2) * width
            label = model if place == 0 else ""
            axis.bar(where, values[name], width * 0.94, label=label, color=MODEL_COLOURS[model])
            height = values[name]
            axis.text(where, height + 0.01, f"{height:.2f}", ha="center", va="bottom")
            ends = (where - width / 2, where + width / 2)
            first = number == 0 and place == 0
            axis.hlines(values[area], *ends, INK, "--", label="even map" if first else "")
            if f"other_{name}" in values:
                first = number == 0 and name == "energy_inside"
                label = "another image's map" if first else ""
                axis.hlines(values[f"other_{name}"], *ends, INK, ":", label=label)
    axis.set_xticks(range(len(chance)), [name.replace("_", " ") for name in chance])
    axis.set(title="Heat maps of the pneumonia images of test", ylim=(0, 1.28), ylabel="share")
    axis.set_yticks(np.linspace(0, 1, 6))
    axis.grid(axis="x", visible=False)
    axis.legend(loc="upper left", ncols=4)
    return figure


def randomisation(steps: dict[str, pd.DataFrame], max_rank: float) -> Figure:
    """Similarity of the maps to themselves after each step of the cascade, a panel a model."""
    figure, axes = plt.subplots(
        1, len(steps), figsize=(4.4 * len(steps), 3.7), sharey=True, squeeze=False
    )
    for axis, (model, table) in zip(axes[0], steps.items(), strict=True):
        places = table["step"]
        lines = (("rank", "rank correlation", BLUE, "o"), ("ssim", "SSIM", GREEN, "s"))
        for name, label, colour, marker in lines:
            axis.plot(places, table[name], color=colour, marker=marker, label=label)
            pairs = f"{label}, another image's map"
            axis.plot(places, table[f"pair_{name}"], color=colour, linestyle=":", label=pairs)
        axis.axhline(max_rank, color=INK, linestyle="--", linewidth=1)
        axis.text(places.max(), max_rank + 0.02, "most allowed rank", ha="right", va="bottom")
        axis.set_xticks(places, ["trained", *table["down_to"][1:]], rotation=60, ha="right")
        axis.set(title=model, xlabel="weights in random order down to", ylim=(-0.02, 1.05))
    axes[0, 0].set_ylabel("similarity to the trained maps")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=4, fontsize=8)
    return figure


def road(figures: dict[str, dict[str, Any]]) -> Figure:
    """Fall of the logit by the share of the image removed, a panel a model."""
    figure, axes = plt.subplots(
        1, len(figures), figsize=(4.4 * len(figures), 3.0), sharey=True, squeeze=False
    )
    for axis, (model, values) in zip(axes[0], figures.items(), strict=True):
        for order, (label, colour, line, marker) in ORDERS.items():
            falls = values["road"][order]
            shares = [int(share) for share in falls]
            style = {"color": colour, "linestyle": line, "marker": marker}
            axis.plot(shares, list(falls.values()), label=label, **style)
        axis.set(title=model, xlabel="share of the image removed, %", xticks=shares)
    axes[0, 0].set_ylabel("fall of the logit")
    axes[0, 0].legend(loc="upper left", fontsize=8)
    return figure


def agreement(figures: dict[str, dict[str, Any]]) -> Figure:
    """Rank correlation with the maps of another network, on the same image and on different ones."""
    kinds = {"second_seed": "another seed", "other_model": "the other model"}
    figure, axes = plt.subplots(1, 2, figsize=(6.4, 2.5), sharey=True)
    for axis, (kind, label) in zip(axes, kinds.items(), strict=True):
        for place, (model, values) in enumerate(figures.items()):
            same, different = values[f"{kind}_rank"], values[f"{kind}_pair_rank"]
            axis.bar(place, same, 0.6, color=MODEL_COLOURS[model])
            axis.text(place, max(same, 0) + 0.02, f"{same:.2f}", ha="center", va="bottom")
            axis.hlines(different, place - 0.38, place + 0.38, INK, "--", linewidth=1)
        axis.set_xticks(range(len(figures)), list(figures))
        axis.set(title=label)
        axis.grid(axis="x", visible=False)
    low = min(0.0, *(value for row in figures.values() for name, value in row.items()
                     if name.endswith("_rank")))  # fmt: skip
    axes[0].set(ylabel="rank correlation", ylim=(low - 0.05, 1.1))
    return figure
