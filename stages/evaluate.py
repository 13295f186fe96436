"""Score both exported graphs on validation and test images and under shifts.

Reads the block `evaluate` of params.yaml; writes reports/evaluate. Chooses the operating points and
the better model on validation; the test images only report.
"""

from pathlib import Path

from pneumonia.core.config import Params
from pneumonia.core.files import replaced
from pneumonia.core.stage import run

DATA, MODELS, REPORT = Path("data/prepared"), Path("models"), Path("reports/evaluate")
AUDIT = Path("reports/visualize/audit.json")
NAMES = ("scratch", "transfer")


def main(params: Params) -> None:
    """Write reports/evaluate: metrics, predictions, curves, operating points, shifted logits."""
    from pneumonia.datasets.manifest import load_images, read_manifest
    from pneumonia.evaluation import evaluate, robustness, shifts
    from pneumonia.evaluation.noninferiority import of_validation, write_scored
    from pneumonia.evaluation.subgroups import attributes
    from pneumonia.inference import plausibility
    from pneumonia.inference.operating_point import OperatingPoints
    from pneumonia.inference.predictor import Graph
    from pneumonia.stats.paired import in_words

    block, audit = params.evaluate, evaluate.read_audit(AUDIT)
    table = read_manifest(DATA)
    rows = table[table["split"].isin(evaluate.SPLITS)]
    kinds = attributes(rows, table[table["split"] == "train"], audit["near_duplicates"])
    images = load_images(DATA, rows)
    graphs = {name: Graph(MODELS / name / "graph.onnx") for name in NAMES}
    outputs = {name: graph.run(images) for name, graph in graphs.items()}
    logits = {name: outputs[name][0] for name in NAMES}
    shifted = robustness.shifted_logits(
        graphs, logits, rows, images, block.shift_images, block.seed
    )
    evaluations = {
        name: evaluate.evaluate_model(
            name, outputs[name], graph.sha256, rows, kinds, robustness.pool(shifted, name), block
        )
        for name, graph in graphs.items()
    }
    points = {name: evaluations[name].point for name in NAMES}
    robust = robustness.measure(shifted, points)
    comparisons = evaluate.compare(evaluations["scratch"], evaluations["transfer"], block)
    with replaced(REPORT) as folder:
        # The rows are sorted by a hash, so the first images of a split are a random sample.
        train = load_images(DATA, table[table["split"] == "train"].head(plausibility.IMAGES))
        validation = images[(rows["split"] == "val").to_numpy()][: plausibility.IMAGES]
        statistics = plausibility.fit(train, validation, shifts.shifted)
        statistics.save(folder / "plausibility.npz")
        evaluate.write_files(folder, evaluations, robust, comparisons, audit["probes"])
        chosen = OperatingPoints(evaluate.better(evaluations, robust), points)
        chosen.write(folder / "operating_point.json")
        scored = {
            name: of_validation(graph.sha256, logits[name], rows, shifted, name)
            for name, graph in graphs.items()
        }
        write_scored(folder / "validation_logits.npz", scored)
    print(f"evaluate: {in_words(comparisons['test'])}")


if __name__ == "__main__":
    run("evaluate", __doc__, main)
