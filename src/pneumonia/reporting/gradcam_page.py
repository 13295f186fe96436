"""The page of `gradcam_report`."""

from __future__ import annotations

from pathlib import Path

from pneumonia.predictor import NOTICE
from pneumonia.reporting.page import Figure, Section, Table, write_page

WHAT = [
    "A heat map shows which parts of the film raised the logit, the model's score for pneumonia "
    "before it becomes a probability. Both networks end in global average pooling and one dense "
    "unit; for this head Grad-CAM (Selvaraju 2017) equals the class activation map "
    "relu(Σ w_c A_c) / (h w), which the exported graph gives in the same forward pass: w_c is the "
    "weight of channel c, A_c its activations on a grid of h by w cells. Colours have one scale "
    "for all films of a model, so that a faint map looks faint.",
]
LIMITS = [
    "The grid is coarse and drawn smooth: a map points to a region, not "
    "to an edge. It says where the score came from, not that there is disease, and a wrong "
    "answer can have a plausible map. On chest X-rays all saliency methods localise worse than "
    "radiologists (Saporta 2022) and many fail to repeat themselves after retraining (Arun 2021).",
]
MEANING = {
    "empty_maps": "share of maps that are zero everywhere",
    "border_energy": "share of the map in the outer tenth of the film, where there is rarely lung",
    "border_area": "share of the film that this border covers: what a map without knowledge "
    "would score in the line above",
    "energy_inside": "share of the map inside the opacity's mask",
    "pointing_game": "share of films whose hottest point lies in the mask",
    "mask_area": "share of the film that the mask covers: what a map without knowledge "
    "would score in the two lines above",
}


def write_gradcam_page(
    folder: Path,
    figures: dict[str, dict[str, float]],
    grids: dict[str, tuple[int, int]],
    galleries: dict[str, int],
    better: str,
) -> None:
    """Write `index.html` beside the figures already in `folder`.

    Args:
        folder: with `maps.png` and `galleries/<group>.png` for each gallery that has films.
        figures: by model, from `pneumonia.explain.truth.score_maps`.
        grids: cells down and across, by model.
        galleries: films shown by group.
        better: the better model by validation, whose decisions the groups are.
    """
    names = next(iter(figures.values()))
    rows = [
        [name.replace("_", " "), *(f"{figures[model][name]:.3f}" for model in figures),
         MEANING[name]]
        for name in names
    ]  # fmt: skip
    sections = [
        Section(
            "What a heat map is",
            [*WHAT, *(f"Grid of {model}: {h} by {w} cells." for model, (h, w) in grids.items())],
        ),
        Section(
            "What the maps are worth",
            table=Table(["figure", *figures, "meaning"], rows),
            figures=[Figure(folder / "maps.png", "figures on the heat maps of both models")],
        ),
    ]
    for group, films in galleries.items():
        title = group.replace("_", " ").capitalize() + "s"
        if films:
            shown = Figure(
                folder / "galleries" / f"{group}.png",
                f"{title}: films and heat maps of both models",
                "Above the overlays: probability and threshold. Outlined: the drawn opacity, "
                "where it is known.",
            )
            sections.append(Section(title, figures=[shown]))
        else:
            sections.append(Section(title, [f"{better} has none on the test films."]))
    sections += [Section("Limits", LIMITS), Section("Notice", [NOTICE])]
    lead = (
        f"Films of the test split by the decisions of {better}, the better model by validation, "
        "from the most to the least confident at even steps, with the heat maps of both models."
    )
    write_page(folder / "index.html", "Grad-CAM", lead, sections)
