"""The figures of `gradcam_report`.

The report of `gradcam_report`: its figures, tables, galleries and page.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumonia.core.config import GradcamReportParams
from pneumonia.explain.checks import YES, MapVerdict, verdicts
from pneumonia.explain.gallery import Exhibit, Explanation, read_exhibits
from pneumonia.explain.gradcam import LAST
from pneumonia.images.decoding import encode_png
from pneumonia.inference.overlay import colour, heat_layer, overlay, smooth
from pneumonia.inference.predictor import NOTICE
from pneumonia.reports import style
from pneumonia.reports.page import HeatMapView, Layered, ReportFigure, Section, Table, write_page
from pneumonia.reports.style import BLUE, GREEN, GREY, INK, MODEL_COLOURS, ORANGE, PURPLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


ORDERS = {
    "map": ("its map", BLUE, "-", "o"),
    "other_image": ("another image's map", PURPLE, "-.", "D"),
    "edges": ("the strongest edges (Sobel)", ORANGE, "--", "s"),
    "random": ("chance", GREY, ":", "^"),
}


def gallery(exhibits: list[Exhibit], opacity: float) -> Figure:
    """A row an image: the image, then each model's overlay on it and the map's own cells."""
    if not exhibits:
        figure, axis = plt.subplots(figsize=(4.2, 1.2))
        axis.set_axis_off()
        axis.text(0, 0.5, "no such image", va="center")
        return figure
    models = list(exhibits[0].explanations)
    rows, columns = len(exhibits), 1 + 2 * len(models)
    figure, axes = plt.subplots(rows, columns, figsize=(2.1 * columns, 2.25 * rows), squeeze=False)
    for row, exhibit in zip(axes, exhibits, strict=True):
        title = f"image {exhibit.image_id[:8]} ({exhibit.subtype})"
        _show(row[0], exhibit, exhibit.image, title)
        for number, model in enumerate(models):
            answer = exhibit.explanations[model]
            sign = "≥" if answer.positive else "<"
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
        for name, label, shade, marker in lines:
            axis.plot(places, table[name], color=shade, marker=marker, label=label)
            pairs = f"{label}, another image's map"
            axis.plot(places, table[f"pair_{name}"], color=shade, linestyle=":", label=pairs)
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
        for order, (label, shade, line, marker) in ORDERS.items():
            falls = values["road"][order]
            shares = [int(share) for share in falls]
            style = {"color": shade, "linestyle": line, "marker": marker}
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


WHAT = {
    "gradcam": "weighs each channel by the mean of the gradient of the logit to it: "
    "L = ReLU(Σ_c a_c A_c) with a_c = 1/(h w) Σ_ij ∂y/∂A_c,ij (Selvaraju 2017).",
    "gradcam++": "weighs each channel by its positive gradients, each by how much of the channel "
    "it explains: L = ReLU(Σ_c a_c A_c) with a_c = Σ_ij ReLU(g) g²/(2g² + g³ ΣA_c), g = ∂y/∂A_c,ij "
    "(Chattopadhay 2018).",
    "hirescam": "weighs each cell of each channel by its own gradient: "
    "L = ReLU(Σ_c ∂y/∂A_c · A_c) (Draelos & Carin 2020).",
}
NORMAL = (
    "The map for NORMAL explains minus the logit: where it is hot, something speaks against "
    "pneumonia. That is not where the image is healthy, and a normal image can have an empty one: "
    "what makes it normal is that nothing was found."
)
LIMITS = [
    "The grid is coarse and drawn smooth: a map points to a region, not to an edge. It says where "
    "the score came from, not that there is disease, and a wrong answer can have a plausible map.",
    "On chest X-rays all saliency methods localise worse than radiologists, most of all small and "
    "many-shaped findings (Saporta 2022, Nature Machine Intelligence 4:867), and many fail to "
    "repeat themselves after retraining or do not depend on the weights (Arun 2021, Radiology: AI "
    "3:e200267). The checks above say how these maps do; passing them does not make a map a "
    "finding.",
]
GROUPS = {
    "true_positive": "True positives",
    "false_negative": "False negatives",
    "false_positive": "False positives",
    "true_negative": "True negatives",
}
RANKS = {1: ["most confident"], 2: ["most confident", "least confident"],
         3: ["most confident", "median", "least confident"]}  # fmt: skip


@dataclass(frozen=True)
class GradcamResults:
    """What `gradcam_report` wrote, and how.

    Attributes:
        figures: by model, from `explain.checks.check`.
        cascades: by model, the steps of the randomisation.
        verdicts: by model.
        galleries: the images shown, by group.
        layers: by model, the names of the layers that have maps, in order.
        better: the better model by validation, whose decisions define the groups.
        params: of `gradcam_report`.
    """

    figures: dict[str, dict[str, Any]]
    cascades: dict[str, pd.DataFrame]
    verdicts: dict[str, list[MapVerdict]]
    galleries: dict[str, list[Exhibit]]
    layers: dict[str, list[str]]
    better: str
    params: GradcamReportParams


def read_gradcam(folder: Path, better: str, params: GradcamReportParams) -> GradcamResults:
    """Read the files that the stage `gradcam_report` wrote.

    Args:
        folder: of the stage.
        better: the better model by validation.
        params: of the stage.
    """
    figures = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    steps = pd.read_csv(
        folder / "randomisation.csv", keep_default_na=False, float_precision="round_trip"
    )
    return GradcamResults(
        figures=figures,
        cascades={name: steps[steps["model"] == name].reset_index(drop=True) for name in figures},
        verdicts={
            name: verdicts(values, params.max_rank_correlation) for name, values in figures.items()
        },
        galleries=read_exhibits(folder / "exhibits.npz"),
        layers=json.loads((folder / "layers.json").read_text(encoding="utf-8")),
        better=better,
        params=params,
    )


def write_gradcam_page(
    folder: Path, gradcam: Path, better: str, params: GradcamReportParams
) -> None:
    """Write gradcam.html, the figures of the checks and the galleries into `folder`.

    Args:
        folder: to write to.
        gradcam: the folder that the stage `gradcam_report` wrote.
        better: the better model by validation.
        params: of the stage `gradcam_report`.
    """
    report = read_gradcam(gradcam, better, params)
    style.apply()
    drawn = {
        "maps": map_scores(report.figures),
        "road": road(report.figures),
        "agreement": agreement(report.figures),
        "randomisation": randomisation(report.cascades, params.max_rank_correlation),
    }
    (folder / "galleries").mkdir()
    for group, shown in report.galleries.items():
        drawn[f"galleries/{group}"] = gallery(shown, params.opacity)
    for name, figure in drawn.items():
        style.save(figure, folder / f"{name}.png")
    lead = (
        f"Where both models looked on images of the test split, and what their heat maps are worth. "
        f"{'; '.join(f'{model}: {_count(found)}' for model, found in report.verdicts.items())}."
    )
    failed = [
        f"The heat maps of {model} failed their check: {values['failed']}. They do not show what "
        "the model learnt, and it does not become champion."
        for model, values in report.figures.items() if values["failed"]
    ]  # fmt: skip
    sections = [
        Section("What a heat map is", _explanation(report)),
        Section("What the maps are worth", [*failed, _basis(report)],
                _verdict_table(report.verdicts)),
        _figure(folder, "Dependence on the weights", "randomisation",
                "similarity of the maps after weights are put in random order",
                "From the logit down, block by block, weights are put in random order "
                "(Adebayo 2018). Maps of what was learnt become others; those of an edge detector "
                "would stay. Dotted: the trained map with another image's after the step."),
        _figure(folder, "Dependence of the logit on what is marked", "road",
                "fall of the logit by the share of the image removed",
                "Parts of the image are removed and filled in from around them (ROAD, Rong 2022). "
                "What the map marks first should cost most. The first share is judged, the "
                "nearest to what an opacity covers; where most of the image is gone, what is left "
                "is no image any more, and removing edges makes it so soonest."),
        _figure(folder, "Where the maps lie", "maps", "figures on the maps of both models",
                "Within the image, without the padding. A map that knows nothing of this image can "
                "still know where lungs are: that is the dotted line."),
        _figure(folder, "Agreement", "agreement", "rank correlation of maps of two networks",
                "The second training has another seed; transfer's begins at the same ImageNet "
                "weights. Dashed: maps of images of two patients, which share where lungs are."),
    ]  # fmt: skip
    for group, title in GROUPS.items():
        images = report.galleries[group]
        if images:
            names = RANKS.get(
                len(images), [f"{n} of {len(images)}" for n in range(1, len(images) + 1)]
            )
            shown = [_layered(image, name) for image, name in zip(images, names, strict=True)]
            words = [f"By the decisions of {report.better}, at even steps of confidence."]
            sections.append(Section(title, words, layered=shown))
        else:
            sections.append(Section(title, [f"{report.better} has none on the test images."]))
    others = [f"{model}: {', '.join(names[-12:])}" for model, names in report.layers.items()]
    words = [f"Other layers to look at, for gradcam_report.layer: {'; '.join(others)}."]
    sections += [Section("Limits", LIMITS),
                 Section("All figures", words, _figure_table(report.figures))]  # fmt: skip
    write_page(
        folder / "gradcam.html", "Grad-CAM", lead, sections, NOTICE, contents=True,
        opacity=report.params.opacity,
    )  # fmt: skip


def _count(found: list[MapVerdict]) -> str:
    return f"{sum(one.answer == YES for one in found)} of {len(found)} checks speak for its maps"


def _basis(report: GradcamResults) -> str:
    one = next(iter(report.figures.values()))
    return (
        f"Test images, no choice is made on them. Border and opacity: those of PNEUMONIA; the "
        f"centre: all; the other checks: {one['images']} images of {one['patients']} patients, "
        "PNEUMONIA first. In brackets 95 % intervals by patient; an answer is not shown where "
        "they allow both."
    )


def _explanation(report: GradcamResults) -> list[str]:
    def by_model(values: dict[str, Any]) -> str:
        if len(set(values.values())) == 1:
            return f"{next(iter(values.values()))} (both models)"
        return " and ".join(f"{value} ({model})" for model, value in values.items())

    exhibit = next(image for images in report.galleries.values() for image in images)
    grids = by_model(
        {
            model: "{} by {}".format(*explanation.heat_map.shape)
            for model, explanation in exhibit.explanations.items()
        }
    )
    layers = report.params.layer.model_dump()
    name = {"gradcam": "Grad-CAM", "gradcam++": "Grad-CAM++", "hirescam": "HiResCAM"}[
        report.params.method
    ]
    mirrored = (
        " Each map is the mean with that of the image's mirror image."
        if report.params.flips
        else ""
    )
    other = [
        model for model, layer in layers.items()
        if report.params.method == "gradcam++" or report.params.flips or layer != LAST
    ]  # fmt: skip
    same = (
        "The layer is the last before global average pooling and one dense unit, so that this is "
        "the class activation map ReLU(Σ_c w_c A_c)/(h w), which the exported graph gives in the "
        "same forward pass and the served model shows."
        if not other
        else "The served model shows Grad-CAM of the last activations, which is another map than "
        f"that of {' and '.join(other)} here."
    )
    return [
        "A heat map shows which parts of an image raised the logit, the score for pneumonia before "
        f"it becomes a probability. {name} takes a layer's activations A, here "
        f"{by_model(layers)}, and {WHAT[report.params.method]} {same} Its cells, {grids}, are "
        "enlarged to the image; colours have one scale for all images of a model, so that a faint "
        "map looks faint. It is evidence on the network, not on the patient."
        f"{mirrored}",
        NORMAL,
    ]


def _verdict_table(verdicts: dict[str, list[MapVerdict]]) -> Table:
    rows = []
    for number, verdict in enumerate(next(iter(verdicts.values()))):
        row = [verdict.check]
        for found in verdicts.values():
            one = found[number]
            row.append(f"{one.answer}. {one.finding}")
        rows.append(row)
    return Table(["check", *verdicts], rows)


def _figure_table(figures: dict[str, dict[str, Any]]) -> Table:
    rows = []
    for name, value in next(iter(figures.values())).items():
        if not isinstance(value, dict | str):
            row = [f"{figures[model][name]:.3f}" for model in figures]
            rows.append([name.replace("_", " "), *row])
    return Table(["figure", *figures], rows)


def _figure(folder: Path, title: str, name: str, alt: str, caption: str) -> Section:
    return Section(title, figures=[ReportFigure(folder / f"{name}.png", alt, caption)], level=3)


def _layered(exhibit: Exhibit, rank: str) -> Layered:
    views = [_view(exhibit, model, answer) for model, answer in exhibit.explanations.items()]
    return Layered(
        f"Image {exhibit.image_id[:8]}, {exhibit.subtype}: {rank}",
        encode_png(exhibit.image[exhibit.box]),
        views,
        encode_png(_edge(exhibit.mask)[exhibit.box]) if exhibit.mask is not None else None,
    )


def _view(exhibit: Exhibit, model: str, answer: Explanation) -> HeatMapView:
    sign, label = ("≥", "PNEUMONIA") if answer.positive else ("<", "NORMAL")
    side = len(exhibit.image)

    def layer(heat_map: NDArray[np.float32], cells: bool = False) -> bytes:
        return encode_png(heat_layer(heat_map, answer.scale, side, cells)[exhibit.box])

    alone = colour(np.clip(smooth(answer.heat_map, side) / answer.scale, 0, 1))

    return HeatMapView(
        model,
        f"{answer.probability:.3f} {sign} {answer.threshold:.3f}: {label}",
        layer(answer.heat_map),
        encode_png(alone[exhibit.box]),
        layer(answer.heat_map, cells=True),
        None if answer.positive else layer(answer.against),
    )


def _edge(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The outer pixels of a mask in the blue of the figures, all else transparent: RGBA."""
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    drawn = np.zeros((*mask.shape, 4), np.uint8)
    drawn[mask & ~inner] = (64, 196, 255, 255)
    return drawn
