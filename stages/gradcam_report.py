"""Compute the heat maps of both models on images chosen by a rule, and check the maps.

This stage reads the block `gradcam_report` of params.yaml and writes reports/gradcam_report; the
stage `register` makes a page from it. If a model's maps do not depend on the model's weights,
`failed` in metrics.json says so, and `register` does not make the model champion.
"""

from pathlib import Path

from pneumonia.core.config import Params
from pneumonia.core.files import replaced, write_json
from pneumonia.core.stage import run

DATA, MODELS, EVALUATION = Path("data/prepared"), Path("models"), Path("reports/evaluate")
REPORT = Path("reports/gradcam_report")


def main(params: Params) -> None:
    """Write reports/gradcam_report: metrics.json, randomisation.csv, exhibits.npz, layers.json."""
    import pandas as pd

    from pneumonia.datasets.manifest import load_images, load_mask, read_manifest
    from pneumonia.explain import gallery
    from pneumonia.explain.checks import MaskedImages, check
    from pneumonia.explain.gradcam import layers_with_maps, read_explained
    from pneumonia.images.decoding import image_box
    from pneumonia.inference.operating_point import OperatingPoints
    from pneumonia.models import devices

    block = params.gradcam_report
    points = OperatingPoints.read(EVALUATION / "operating_point.json")
    table = read_manifest(DATA)
    test = table[table["split"] == "test"].reset_index(drop=True)
    images = load_images(DATA, test)
    masks = [load_mask(DATA, mask) if mask else None for mask in test["mask"]]
    sizes = zip(test["width"], test["height"], strict=True)
    boxes = [image_box(width, height, images.shape[1]) for width, height in sizes]
    masked = MaskedImages(images, test, masks, boxes)
    pneumonia = load_images(DATA, table[(table["split"] == "val") & (table["label"] == 1)])
    devices.make_deterministic(block.seed)
    models = {
        name: read_explained(MODELS / name, images, pneumonia, point.map_scale, block)
        for name, point in points.points.items()
    }
    first, second = models
    other = {first: models[second].maps, second: models[first].maps}
    checked = {name: check(model, other[name], masked, block) for name, model in models.items()}
    metrics = {name: figures for name, (figures, _) in checked.items()}
    steps = pd.concat([steps.assign(model=name) for name, (_, steps) in checked.items()])
    predictions = pd.read_csv(EVALUATION / "predictions.csv", dtype={"image_id": str})
    exhibits = gallery.exhibits(
        masked, models, points.points, predictions, points.better, block.images_per_group
    )
    with replaced(REPORT) as folder:
        write_json(folder / "metrics.json", metrics)
        steps.to_csv(folder / "randomisation.csv", index=False, lineterminator="\n")
        gallery.write_exhibits(folder / "exhibits.npz", exhibits)
        layers = {name: layers_with_maps(model.model) for name, model in models.items()}
        write_json(folder / "layers.json", layers)
    for name, figures in metrics.items():
        if figures["failed"]:
            print(
                f"gradcam_report: the heat maps of {name} failed their check: {figures['failed']}"
            )
    print(f"gradcam_report: {REPORT}/metrics.json")


if __name__ == "__main__":
    run("gradcam_report", __doc__, main)
