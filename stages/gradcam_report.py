"""Show where both models looked, on films picked by rule, and what the heat maps are worth.

Reads the block `gradcam_report` of params.yaml; writes reports/gradcam_report.
"""

import json
from pathlib import Path

import pandas as pd

from pneumonia.data.manifest import load_images, load_mask, read_manifest
from pneumonia.evaluation.operating_point import OperatingPoint
from pneumonia.explain.gallery import pick
from pneumonia.explain.truth import score_maps
from pneumonia.params import Params
from pneumonia.predictor import Graph
from pneumonia.stage import replaced, run, write_json

DATA, MODELS, EVALUATION = Path("data/prepared"), Path("models"), Path("reports/evaluate")


def main(params: Params) -> None:
    """Write reports/gradcam_report: metrics.json, the galleries, index.html."""
    from pneumonia.reporting import gradcam_figures, style
    from pneumonia.reporting.gradcam_page import write_gradcam_page

    block = params.gradcam_report
    card = json.loads((EVALUATION / "operating_point.json").read_text())
    points = {name: OperatingPoint(**point) for name, point in card["models"].items()}
    table = read_manifest(DATA)
    test = table[table["split"] == "test"].reset_index(drop=True)
    images = load_images(DATA, test)
    masks = [load_mask(DATA, mask) if mask else None for mask in test["mask"]]
    outputs = {name: Graph(MODELS / name / "graph.onnx").run(images) for name in points}
    ill = test.index[test["label"] == 1]
    figures = {
        name: score_maps(maps[ill], [masks[row] for row in ill], images.shape[1])
        for name, (_, maps) in outputs.items()
    }

    def exhibit(image_id: str) -> gradcam_figures.Exhibit:
        row = int(test.index[test["image_id"] == image_id][0])
        answers = {
            name: gradcam_figures.Explained(
                float(points[name].probability(logits[row])), points[name].threshold,
                maps[row], points[name].map_scale,
            )
            for name, (logits, maps) in outputs.items()
        }  # fmt: skip
        return gradcam_figures.Exhibit(image_id, images[row, ..., 0], masks[row], answers)

    predictions = pd.read_csv(EVALUATION / "predictions.csv", dtype={"image_id": str})
    better = card["better"]
    rows = predictions[(predictions["split"] == "test") & (predictions["model"] == better)]
    picked = pick(rows, points[better].threshold, block.films_per_group)
    style.apply()
    with replaced(Path("reports/gradcam_report")) as folder:
        (folder / "galleries").mkdir()
        write_json(folder / "metrics.json", figures)
        style.save(gradcam_figures.map_scores(figures), folder / "maps.png")
        for group, films in picked.items():
            if films:
                shown = gradcam_figures.gallery([exhibit(film) for film in films], block.opacity)
                style.save(shown, folder / "galleries" / f"{group}.png")
        counts = {group: len(films) for group, films in picked.items()}
        grids = {name: maps.shape[1:] for name, (_, maps) in outputs.items()}
        write_gradcam_page(folder, figures, grids, counts, better)
    print("gradcam_report: reports/gradcam_report/index.html")


if __name__ == "__main__":
    run("gradcam_report", __doc__, main)
