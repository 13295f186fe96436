"""Show where both models looked, on films picked by rule, and check what the heat maps are worth.

Reads the block `gradcam_report` of params.yaml; writes reports/gradcam_report, and to the MLflow
store. Fails, with the report written, where maps do not depend on the weights.
"""

import json
from pathlib import Path

import pandas as pd

from pneumonia.data.image import film_box
from pneumonia.data.manifest import load_images, load_mask, read_manifest
from pneumonia.errors import InputError
from pneumonia.evaluation.operating_point import OperatingPoint
from pneumonia.explain.checks import check, verdicts
from pneumonia.explain.gallery import pick
from pneumonia.explain.gradcam import layers_with_maps
from pneumonia.explain.subject import read_subject
from pneumonia.models import devices
from pneumonia.params import Params
from pneumonia.stage import replaced, run, write_json
from pneumonia.tracking import runs

DATA, MODELS, EVALUATION = Path("data/prepared"), Path("models"), Path("reports/evaluate")
REPORT = Path("reports/gradcam_report")


def main(params: Params) -> None:
    """Write reports/gradcam_report: metrics.json, tables, figures, galleries, index.html.

    Raises:
        InputError: maps stay alike when the weights are put in random order.
    """
    from pneumonia.reporting import gradcam_figures, style
    from pneumonia.reporting.gradcam_page import Report, write_gradcam_page

    block = params.gradcam_report
    devices.be_deterministic(block.seed)
    card = json.loads((EVALUATION / "operating_point.json").read_text())
    points = {name: OperatingPoint(**point) for name, point in card["models"].items()}
    table = read_manifest(DATA)
    test = table[table["split"] == "test"].reset_index(drop=True)
    films = load_images(DATA, test)
    ill = load_images(DATA, table[(table["split"] == "val") & (table["label"] == 1)])
    masks = [load_mask(DATA, mask) if mask else None for mask in test["mask"]]
    subjects = {
        name: read_subject(MODELS / name, films, ill, point.map_scale, block)
        for name, point in points.items()
    }

    def exhibit(image_id: str) -> gradcam_figures.Exhibit:
        row = int(test.index[test["image_id"] == image_id][0])
        answers = {
            name: gradcam_figures.Explained(
                float(points[name].probability(one.logits[row])), points[name].threshold,
                one.maps[row], one.against[row], one.scale,
            )
            for name, one in subjects.items()
        }  # fmt: skip
        film = test.iloc[row]
        box = film_box(film["width"], film["height"], films.shape[1])
        return gradcam_figures.Exhibit(
            image_id, film["subtype"], films[row, ..., 0], box, masks[row], answers
        )

    predictions = pd.read_csv(EVALUATION / "predictions.csv", dtype={"image_id": str})
    better = card["better"]
    rows = predictions[(predictions["split"] == "test") & (predictions["model"] == better)]
    picked = pick(rows, points[better].threshold, block.films_per_group)
    galleries = {group: [exhibit(film) for film in some] for group, some in picked.items()}
    first, second = subjects
    others = {first: subjects[second].maps, second: subjects[first].maps}
    checked = {
        name: check(one, others[name], films, test, masks, block) for name, one in subjects.items()
    }
    figures = {name: one.figures for name, one in checked.items()}
    cascades = {name: one.cascade for name, one in checked.items()}
    style.apply()
    with replaced(REPORT) as folder:
        write_json(folder / "metrics.json", figures)
        steps = pd.concat([one.assign(model=name) for name, one in cascades.items()])
        steps.to_csv(folder / "randomisation.csv", index=False, lineterminator="\n")
        drawn = {
            "maps": gradcam_figures.map_scores(figures),
            "road": gradcam_figures.road(figures),
            "agreement": gradcam_figures.agreement(figures),
            "randomisation": gradcam_figures.randomisation(cascades, block.max_rank_correlation),
        }
        (folder / "galleries").mkdir()
        for group, shown in galleries.items():
            if shown:
                drawn[f"galleries/{group}"] = gradcam_figures.gallery(shown, block.opacity)
        for name, figure in drawn.items():
            style.save(figure, folder / f"{name}.png")
        report = Report(
            method=block.method,
            layers=block.layer.model_dump(),
            flips=block.flips,
            figures=figures,
            verdicts={
                name: verdicts(one, block.max_rank_correlation) for name, one in figures.items()
            },
            galleries=galleries,
            grids={name: one.maps.shape[1:] for name, one in subjects.items()},
            better=better,
            opacity=block.opacity,
            layers_there={
                name: layers_with_maps(one.model)[-12:] for name, one in subjects.items()
            },
        )
        write_gradcam_page(folder, report)
    with runs.store():
        for name, one in figures.items():
            with runs.open_run(MODELS / name, table):
                runs.log_explanations(one, REPORT)
    print(f"gradcam_report: {REPORT}/index.html")
    dead = [name for name, one in figures.items()
            if one["randomised_rank"] > block.max_rank_correlation]  # fmt: skip
    if dead:
        raise InputError(
            f"maps of {' and '.join(dead)} stay alike when weights are put in random order: they "
            f"do not show what was learnt; see {REPORT}/index.html"
        )


if __name__ == "__main__":
    run("gradcam_report", __doc__, main)
