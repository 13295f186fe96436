"""The Grad-CAM page: galleries of heat maps, and the results of checks of the maps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion

from pneumonia.core.config import GradcamReportParams
from pneumonia.explain.checks import ORDERS, YES, MapVerdict, verdicts
from pneumonia.explain.gallery import Exhibit, Explanation, read_exhibits
from pneumonia.explain.gradcam import LAST
from pneumonia.images.decoding import encode_png
from pneumonia.inference.overlay import colour, heat_layer, overlay, smooth
from pneumonia.inference.predictor import NOTICE
from pneumonia.reports import style
from pneumonia.reports.page import HeatMapView, LayeredImage, PageFigure, Section, Table, write_page
from pneumonia.reports.style import BLUE, GREEN, GREY, INK, MODELS, ORANGE, PURPLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


METHODS = {"gradcam": "Grad-CAM", "gradcam++": "Grad-CAM++", "hirescam": "HiResCAM"}
FORMULAS = {
    "gradcam": "weights each channel by the mean of the logit's gradient with respect to it: "
    "L = ReLU(Σ_c a_c A_c) with a_c = 1/(h w) Σ_ij ∂y/∂A_c,ij (Selvaraju 2017).",
    "gradcam++": "weights each channel by its positive gradients, each scaled by its share in the "
    "channel: L = ReLU(Σ_c a_c A_c) with a_c = Σ_ij ReLU(g) g²/(2g² + g³ ΣA_c), g = ∂y/∂A_c,ij "
    "(Chattopadhay 2018).",
    "hirescam": "weights each cell of each channel by its own gradient: "
    "L = ReLU(Σ_c ∂y/∂A_c · A_c) (Draelos & Carin 2020).",
}
NORMAL = (
    "The map for NORMAL explains the negative logit: its hot regions are evidence against "
    "pneumonia. They are not the healthy regions. The map of a normal image can be empty, because "
    "an image is normal if nothing was found."
)
LIMITS = [
    "The grid is coarse and drawn smoothly: a map shows a region, not an edge. It shows where the "
    "score comes from, not that there is disease, and a wrong prediction can have a plausible map.",
    "On chest X-rays all saliency methods localise worse than radiologists, above all findings "
    "that are small or of complex shape (Saporta 2022, Nature Machine Intelligence 4:867). Many "
    "methods give other maps after another training, or do not depend on the weights (Arun 2021, "
    "Radiology: AI 3:e200267). The checks above examine these maps; a map that passes them is "
    "still no clinical finding.",
]
RANKS = {1: ["most confident"], 2: ["most confident", "least confident"],
         3: ["most confident", "median", "least confident"]}  # fmt: skip


def write_gradcam_page(
    folder: Path, gradcam: Path, better: str, params: GradcamReportParams
) -> None:
    """Write gradcam.html, the figures of the checks and the galleries into `folder`.

    Args:
        gradcam: the folder that the stage `gradcam_report` wrote.
        better: the name of the better model on validation.
    """
    figures = json.loads((gradcam / "metrics.json").read_text(encoding="utf-8"))
    steps = pd.read_csv(gradcam / "randomisation.csv", keep_default_na=False)
    galleries = read_exhibits(gradcam / "exhibits.npz")
    layers = json.loads((gradcam / "layers.json").read_text(encoding="utf-8"))
    style.apply()
    drawn = {
        "maps": map_scores(figures),
        "road": road(figures),
        "agreement": agreement(figures),
        "randomisation": randomisation(steps, params.max_rank_correlation),
    }
    (folder / "galleries").mkdir()
    for group, exhibits in galleries.items():
        drawn[f"galleries/{group}"] = gallery(exhibits, params.opacity)
    for name, figure in drawn.items():
        style.save(figure, folder / f"{name}.png")
    checks = {
        model: verdicts(values, params.max_rank_correlation) for model, values in figures.items()
    }
    passed = ", ".join(
        f"{model} {sum(verdict.answer == YES for verdict in answers)} of {len(answers)}"
        for model, answers in checks.items()
    )
    lead = (
        "Where both models looked on images of the test split, and what their heat maps are worth. "
        f"Checks passed: {passed}."
    )
    for model, values in figures.items():
        if values["failed"]:
            lead += (
                f" The heat maps of {model} failed their check: {values['failed']}. They do not "
                f"show what the model learnt, and {model} does not become champion."
            )
    sections = [
        Section("What a heat map is", _explanation(galleries, params)),
        *_check_sections(figures, checks),
        *(_gallery_section(group, exhibits, better) for group, exhibits in galleries.items()),
        Section("Limits", LIMITS),
        _all_metrics(figures, layers),
    ]
    page = folder / "gradcam.html"
    write_page(page, "Grad-CAM", lead, sections, NOTICE, contents=True, opacity=params.opacity)


def gallery(exhibits: list[Exhibit], opacity: float) -> Figure:
    """One row per image: the image, then each model's overlay and the cells of its map."""
    if not exhibits:
        figure, axis = plt.subplots(figsize=(4.2, 1.2))
        axis.set_axis_off()
        axis.text(0, 0.5, "no such image", va="center")
        return figure
    rows, columns = len(exhibits), 1 + 2 * len(exhibits[0].explanations)
    figure, axes = plt.subplots(rows, columns, figsize=(2.1 * columns, 2.25 * rows), squeeze=False)
    for row, exhibit in zip(axes, exhibits, strict=True):
        shown = [(exhibit.image, f"image {exhibit.image_id[:8]} ({exhibit.subtype})")]
        for model, answer in exhibit.explanations.items():
            heat = overlay(exhibit.image, answer.heat_map, answer.scale, opacity)
            cells = heat_layer(answer.heat_map, answer.scale, len(exhibit.image), cells=True)
            shown += [(heat, f"{model}  {_decision(answer)}"), (cells, f"{model}, cells")]
        for axis, (pixels, title) in zip(row, shown, strict=True):
            _show(axis, exhibit, pixels, title)
    return figure


def _decision(answer: Explanation) -> str:
    """The probability and the threshold as text: "0.913 ≥ 0.500"."""
    return f"{answer.probability:.3f} {'≥' if answer.positive else '<'} {answer.threshold:.3f}"


def _show(axis: Axes, exhibit: Exhibit, pixels: NDArray[np.uint8], title: str) -> None:
    axis.imshow(pixels[exhibit.box], cmap="gray", vmin=0, vmax=255)
    axis.set_axis_off()
    axis.set_title(title, fontsize=8, fontweight="normal")
    if exhibit.mask is not None:
        # The white line below the blue line keeps the edge visible on the image and on the map.
        mask = exhibit.mask[exhibit.box]
        axis.contour(mask, [0.5], colors="white", linewidths=1.6)
        axis.contour(mask, [0.5], colors=BLUE, linewidths=0.8)


def map_scores(figures: dict[str, dict[str, Any]]) -> Figure:
    """Bars by model: the share of the maps' energy in each region, and the pointing game.

    A dashed line is the value of a uniform map, a dotted line the value of another image's map.
    """
    controls = {"border_energy": "border_area"}
    if "energy_inside" in next(iter(figures.values())):
        controls |= {"energy_inside": "mask_area", "pointing_game": "mask_area"}
    figure, axis = plt.subplots(figsize=(6.4, 3.0))
    width = 0.8 / len(figures)
    for number, (model, values) in enumerate(figures.items()):
        centres = np.arange(len(controls)) + (number - (len(figures) - 1) / 2) * width
        heights = [values[name] for name in controls]
        axis.bar(centres, heights, width * 0.94, label=model, color=MODELS[model].colour)
        for centre, height in zip(centres, heights, strict=True):
            axis.text(centre, height + 0.01, f"{height:.2f}", ha="center", va="bottom")
        ends = (centres - width / 2, centres + width / 2)
        uniform = [values[area] for area in controls.values()]
        other = [values.get(f"other_{name}", np.nan) for name in controls]
        labels = ("uniform map", "another image's map") if number == 0 else ("", "")
        axis.hlines(uniform, *ends, INK, "--", label=labels[0])
        axis.hlines(other, *ends, INK, ":", label=labels[1] if len(controls) > 1 else "")
    axis.set_xticks(range(len(controls)), [name.replace("_", " ") for name in controls])
    axis.set(title="Heat maps of test images with pneumonia", ylim=(0, 1.28), ylabel="share")
    axis.set_yticks(np.linspace(0, 1, 6))
    axis.grid(axis="x", visible=False)
    axis.legend(loc="upper left", ncols=4)
    return figure


def randomisation(steps: pd.DataFrame, max_rank: float) -> Figure:
    """Draw how similar the maps stay while weights are put in random order, a panel per model."""
    models = steps.groupby("model", sort=False)
    figure, axes = plt.subplots(
        1, len(models), figsize=(4.4 * len(models), 3.7), sharey=True, squeeze=False
    )
    lines = (("rank", "rank correlation", BLUE, "o"), ("ssim", "SSIM", GREEN, "s"))
    for axis, (model, table) in zip(axes[0], models, strict=True):
        places = table["step"]
        for name, label, shade, marker in lines:
            axis.plot(places, table[name], color=shade, marker=marker, label=label)
            control = f"{label}, another image's map"
            axis.plot(places, table[f"pair_{name}"], color=shade, linestyle=":", label=control)
        axis.axhline(max_rank, color=INK, linestyle="--", linewidth=1)
        text = "highest allowed rank correlation"
        axis.text(places.max(), max_rank + 0.02, text, ha="right", va="bottom")
        axis.set_xticks(places, ["trained", *table["down_to"].iloc[1:]], rotation=60, ha="right")
        axis.set(title=model, xlabel="weights in random order down to", ylim=(-0.02, 1.05))
    axes[0, 0].set_ylabel("similarity to the trained maps")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=4, fontsize=8)
    return figure


def road(figures: dict[str, dict[str, Any]]) -> Figure:
    """Fall of the logit by the share of the image that was removed, one panel per model."""
    looks = {
        "map": ("the image's map", BLUE, "-", "o"),
        "other_image": (ORDERS["other_image"], PURPLE, "-.", "D"),
        "edges": (ORDERS["edges"], ORANGE, "--", "s"),
        "random": (ORDERS["random"], GREY, ":", "^"),
    }
    figure, axes = plt.subplots(
        1, len(figures), figsize=(4.4 * len(figures), 3.0), sharey=True, squeeze=False
    )
    for axis, (model, values) in zip(axes[0], figures.items(), strict=True):
        for order, (label, shade, line, marker) in looks.items():
            shares = [int(share) for share in values["road"][order]]
            axis.plot(shares, list(values["road"][order].values()), label=label, color=shade,
                      linestyle=line, marker=marker)  # fmt: skip
        axis.set(title=model, xlabel="share of the image removed, %", xticks=shares)
    axes[0, 0].set_ylabel("fall of the logit")
    axes[0, 0].legend(loc="upper left", fontsize=8)
    return figure


def agreement(figures: dict[str, dict[str, Any]]) -> Figure:
    """Rank correlation with another network's maps of the same images and of different images."""
    kinds = {"second_seed": "another seed", "other_model": "the other model"}
    figure, axes = plt.subplots(1, 2, figsize=(6.4, 2.5), sharey=True)
    for axis, (kind, label) in zip(axes, kinds.items(), strict=True):
        for place, (model, values) in enumerate(figures.items()):
            same, different = values[f"{kind}_rank"], values[f"{kind}_pair_rank"]
            axis.bar(place, same, 0.6, color=MODELS[model].colour)
            axis.text(place, max(same, 0) + 0.02, f"{same:.2f}", ha="center", va="bottom")
            axis.hlines(different, place - 0.38, place + 0.38, INK, "--", linewidth=1)
        axis.set_xticks(range(len(figures)), list(figures))
        axis.set(title=label)
        axis.grid(axis="x", visible=False)
    lowest = pd.DataFrame(figures).filter(regex="_rank$", axis="index").to_numpy(float).min()
    axes[0].set(ylabel="rank correlation", ylim=(min(0.0, lowest) - 0.05, 1.1))
    return figure


def _check_sections(
    figures: dict[str, dict[str, Any]], checks: dict[str, list[MapVerdict]]
) -> list[Section]:
    def figure(title: str, *figure: str) -> Section:
        return Section(title, figures=[PageFigure(*figure)], level=3)

    first = next(iter(figures.values()))
    basis = (
        "The checks use test images. The checks of the border and the opacity use the images of "
        "pneumonia; the check of the centre uses all images; the others use "
        f"{first['images']} images of {first['patients']} patients, pneumonia before normal. In "
        "brackets: 95 % intervals by patient. The answer is Not shown if the interval allows both."
    )
    table = Table(
        ["check", *checks],
        [[row[0].check, *(f"{verdict.answer}. {verdict.finding}" for verdict in row)]
         for row in zip(*checks.values(), strict=True)],
    )  # fmt: skip
    return [
        Section("What the maps are worth", [basis], table),
        figure(
            "Dependence on the weights", "randomisation",
            "Similarity of the maps after weights are put in random order",
            "From the logit down, block by block, weights are put in random order (Adebayo 2018). "
            "Maps of what was learnt then change; those of an edge detector would not. Dotted: the "
            "trained map compared with another image's map after the step.",
        ),
        figure(
            "Dependence of the logit on the marked regions", "road",
            "Fall of the logit by the share of the image removed",
            "Parts of the image are removed and filled in from their surroundings (ROAD, Rong "
            "2022). Removing what the map marks first should lower the logit most. The check uses "
            "the first share, which is closest to the area of an opacity. When most of the image "
            "is removed, the rest no longer looks like an X-ray, most of all if edges are removed.",
        ),
        figure(
            "Location of the maps", "maps", "Scores of the maps of both models",
            "Within the image, without the padding. A map of another image can still show where "
            "lungs usually are: this is the dotted line.",
        ),
        figure(
            "Agreement", "agreement", "Rank correlation of maps of two networks",
            "The second training has another seed; for transfer it begins with the same ImageNet "
            "weights. Dashed: maps of images of two patients, which share the usual place of the "
            "lungs.",
        ),
    ]  # fmt: skip


def _gallery_section(group: str, exhibits: list[Exhibit], better: str) -> Section:
    title = f"{group.capitalize().replace('_', ' ')}s"
    if not exhibits:
        return Section(title, [f"{better} has none on the test images."])
    count = len(exhibits)
    ranks = RANKS.get(count, [f"{number} of {count}" for number in range(1, count + 1)])
    shown = [_layered(*pair) for pair in zip(exhibits, ranks, strict=True)]
    text = f"By the decisions of {better}, at even steps of confidence."
    return Section(title, [text], layered=shown)


def _all_metrics(figures: dict[str, dict[str, Any]], layers: dict[str, list[str]]) -> Section:
    rows = [
        [name.replace("_", " "), *(f"{values[name]:{form}}" for values in figures.values())]
        for name, value in next(iter(figures.values())).items()
        if not isinstance(value, dict | str)
        for form in [",d" if isinstance(value, int) else ".3f"]
    ]
    last = "; ".join(f"{model}: {', '.join(names[-12:])}" for model, names in layers.items())
    text = f"The last layers that have maps, for gradcam_report.layer: {last}."
    return Section("All metrics", [text], Table(["metric", *figures], rows))


def _explanation(galleries: dict[str, list[Exhibit]], params: GradcamReportParams) -> list[str]:
    def by_model(values: dict[str, str]) -> str:
        if len(set(values.values())) == 1:
            return f"{next(iter(values.values()))} (both models)"
        return " and ".join(f"{value} ({model})" for model, value in values.items())

    layers = params.layer.model_dump()
    exhibit = next(exhibit for group in galleries.values() for exhibit in group)
    grids = {
        model: " by ".join(map(str, answer.heat_map.shape))
        for model, answer in exhibit.explanations.items()
    }
    served = (
        "The layer is the last one before global average pooling and one dense unit, so this is "
        "the class activation map ReLU(Σ_c w_c A_c)/(h w), which the exported graph gives in the "
        "same forward pass and the served model shows."
    )
    other_method = params.method == "gradcam++" or params.flips
    others = [model for model, layer in layers.items() if other_method or layer != LAST]
    if others:
        served = (
            "The served model shows Grad-CAM of the last activations, which is another map than "
            f"that of {' and '.join(others)} here."
        )
    mirrored = " Each map is averaged with that of the mirrored image." if params.flips else ""
    return [
        "A heat map shows which parts of an image raised the logit, the score for pneumonia before "
        f"it becomes a probability. {METHODS[params.method]} uses a layer's activations A, here "
        f"{by_model(layers)}, and {FORMULAS[params.method]} {served} Its cells, "
        f"{by_model(grids)}, are enlarged to the size of the image. The colours have one scale for "
        "all images of a model, so that a weak map looks weak. The map is evidence about the "
        f"network, not about the patient.{mirrored}",
        NORMAL,
    ]


def _layered(exhibit: Exhibit, rank: str) -> LayeredImage:
    return LayeredImage(
        f"Image {exhibit.image_id[:8]}, {exhibit.subtype}: {rank}",
        encode_png(exhibit.image[exhibit.box]),
        [_view(exhibit, model, answer) for model, answer in exhibit.explanations.items()],
        None if exhibit.mask is None else encode_png(_edge(exhibit.mask)[exhibit.box]),
    )


def _view(exhibit: Exhibit, model: str, answer: Explanation) -> HeatMapView:
    side = len(exhibit.image)

    def layer(heat_map: NDArray[np.float32], cells: bool = False) -> bytes:
        return encode_png(heat_layer(heat_map, answer.scale, side, cells)[exhibit.box])

    alone = colour(np.clip(smooth(answer.heat_map, side) / answer.scale, 0, 1))
    return HeatMapView(
        model,
        f"{_decision(answer)}: {'PNEUMONIA' if answer.positive else 'NORMAL'}",
        layer(answer.heat_map),
        encode_png(alone[exhibit.box]),
        layer(answer.heat_map, cells=True),
        None if answer.positive else layer(answer.against),
    )


def _edge(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """An RGBA image: the edge pixels of a mask are blue, all other pixels are transparent."""
    edge = np.zeros((*mask.shape, 4), np.uint8)
    edge[mask & ~binary_erosion(mask)] = (64, 196, 255, 255)
    return edge
