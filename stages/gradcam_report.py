"""Show where both models looked, on images picked by rule, and check what the heat maps are worth.

Reads the block `gradcam_report` of params.yaml; writes reports/gradcam_report, and to the MLflow
store. Fails, with the report written, where maps do not depend on the weights.
"""

import json
from pathlib import Path

from pneumonia.core.config import Params
from pneumonia.core.errors import InputError
from pneumonia.core.files import replaced
from pneumonia.core.stage import run

DATA, MODELS, EVALUATION = Path("data/prepared"), Path("models"), Path("reports/evaluate")
REPORT = Path("reports/gradcam_report")


def main(params: Params) -> None:
    """Write reports/gradcam_report: metrics.json, a table, figures, galleries, index.html.

    Raises:
        InputError: maps stay alike when the weights are put in random order.
    """
    import pandas as pd

    from pneumonia.datasets.manifest import load_images, load_mask, read_manifest
    from pneumonia.explain.checks import MaskedImages, check
    from pneumonia.explain.gallery import exhibits
    from pneumonia.explain.gradcam import read_explained
    from pneumonia.images.decoding import image_box
    from pneumonia.inference.operating_point import OperatingPoint
    from pneumonia.models import devices
    from pneumonia.reports.gradcam_page import write_gradcam_report
    from pneumonia.tracking import runs
    from pneumonia.tracking.store import connected

    block = params.gradcam_report
    card = json.loads((EVALUATION / "operating_point.json").read_text(encoding="utf-8"))
    points = {name: OperatingPoint(**point) for name, point in card["models"].items()}
    table = read_manifest(DATA)
    test = table[table["split"] == "test"].reset_index(drop=True)
    images = load_images(DATA, test)
    masks = [load_mask(DATA, mask) if mask else None for mask in test["mask"]]
    sides = zip(test["width"], test["height"], strict=True)
    boxes = [image_box(width, height, images.shape[1]) for width, height in sides]
    xrays = MaskedImages(images, test, masks, boxes)
    ill = load_images(DATA, table[(table["split"] == "val") & (table["label"] == 1)])
    devices.make_deterministic(block.seed)
    subjects = {
        name: read_explained(MODELS / name, images, ill, point.map_scale, block)
        for name, point in points.items()
    }
    others = dict(zip(subjects, [one.maps for one in reversed(subjects.values())], strict=True))
    checked = {name: check(one, others[name], xrays, block) for name, one in subjects.items()}
    predictions = pd.read_csv(EVALUATION / "predictions.csv", dtype={"image_id": str})
    better = card["better"]
    shown = exhibits(xrays, subjects, points, predictions, better, block.images_per_group)
    with replaced(REPORT) as folder:
        write_gradcam_report(folder, subjects, checked, shown, better, block)
    with connected():
        for name, one in checked.items():
            with runs.open_run(MODELS / name, table):
                runs.log_explanations(one.figures, REPORT)
    print(f"gradcam_report: {REPORT}/index.html")
    # Not `>`: what is no number shows nothing either.
    dead = [name for name, one in checked.items()
            if not one.figures["randomised_rank"] <= block.max_rank_correlation]  # fmt: skip
    if dead:
        raise InputError(
            f"maps of {' and '.join(dead)} stay alike when weights are put in random order: they "
            f"do not show what was learnt; see {REPORT}/index.html"
        )


if __name__ == "__main__":
    run("gradcam_report", __doc__, main)
