"""Score both exported graphs on validation and test images, unshifted and shifted.

This stage reads the block `evaluate` of params.yaml and writes reports/evaluate. The validation
images decide the operating points and the better model; the test images only give figures.
"""

from pathlib import Path

from pneumonia.core.config import Params
from pneumonia.core.files import replaced
from pneumonia.core.stage import run

DATA, MODELS, REPORT = Path("data/prepared"), Path("models"), Path("reports/evaluate")
AUDIT = Path("reports/visualize/audit.json")
NAMES = ("scratch", "transfer")


def main(params: Params) -> None:
    """Write reports/evaluate: metrics, predictions, curves, operating points, validation logits."""
    from pneumonia.datasets.manifest import load_images, read_manifest
    from pneumonia.evaluation import evaluate, noninferiority, robustness
    from pneumonia.evaluation.shifts import shifted
    from pneumonia.evaluation.subgroups import image_attributes
    from pneumonia.inference import plausibility
    from pneumonia.inference.operating_point import OperatingPoints
    from pneumonia.inference.predictor import Graph
    from pneumonia.stats.paired import in_words

    block, audit = params.evaluate, evaluate.read_audit(AUDIT)
    table = read_manifest(DATA)
    train = table[table["split"] == "train"]
    rows = table[table["split"].isin(evaluate.SPLITS)]
    attributes = image_attributes(rows, train, audit["near_duplicates"])
    images = load_images(DATA, rows)
    graphs = {name: Graph(MODELS / name / "graph.onnx") for name in NAMES}
    outputs = {name: graph.run(images) for name, graph in graphs.items()}
    logits = {name: outputs[name][0] for name in NAMES}
    shifts = robustness.shifted_logits(graphs, logits, rows, images, block.shift_images, block.seed)
    evaluations = {
        name: evaluate.evaluate_model(
            name, outputs[name], rows, attributes, robustness.threshold_pool(shifts, name), block
        )
        for name in NAMES
    }
    points = {name: evaluations[name].point for name in NAMES}
    scores = robustness.measure(shifts, points)
    comparisons = evaluate.compare_models(evaluations["scratch"], evaluations["transfer"], block)
    with replaced(REPORT) as folder:
        evaluate.write_files(folder, evaluations, scores, comparisons, audit["probes"])
        better = evaluate.choose_better(evaluations, scores)
        OperatingPoints(better, points).write(folder / "operating_point.json")
        validation_logits = {
            name: noninferiority.select_validation(graph.sha256, logits[name], rows, shifts, name)
            for name, graph in graphs.items()
        }
        noninferiority.write_logits(folder / "validation_logits.npz", validation_logits)
        # The rows are sorted by a hash, so the first images of a split are a random sample.
        sample = load_images(DATA, train.head(plausibility.IMAGES))
        validation = images[(rows["split"] == "val").to_numpy()][: plausibility.IMAGES]
        plausibility.fit(sample, validation, shifted).save(folder / "plausibility.npz")
    print(f"evaluate: {in_words(comparisons['test'])}")


if __name__ == "__main__":
    run("evaluate", __doc__, main)
