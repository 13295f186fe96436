"""Score both exported graphs, register the better one in MLflow, promote it by rule.

Reads the block `evaluate` of params.yaml; writes reports/evaluate, and to the MLflow store.
"""

from dataclasses import asdict
from functools import partial
from pathlib import Path

from pneumonia.core.config import Params
from pneumonia.core.files import replaced, write_json
from pneumonia.core.stage import run

DATA, MODELS, REPORT = Path("data/prepared"), Path("models"), Path("reports/evaluate")
AUDIT = Path("reports/visualize/audit.json")
NAMES = ("scratch", "transfer")


def main(params: Params) -> None:
    """Write reports/evaluate; add the figures to the trainings' runs; register the better."""
    from pneumonia.datasets.manifest import digest, load_images, read_manifest
    from pneumonia.evaluation import behaviour, evaluate, robustness
    from pneumonia.evaluation.evaluate import read_audit, write_files
    from pneumonia.evaluation.noninferiority import of_validation
    from pneumonia.evaluation.subgroups import attributes
    from pneumonia.inference import plausibility
    from pneumonia.inference.predictor import Graph
    from pneumonia.registry import promotion, registration
    from pneumonia.reports.evaluation_page import write_evaluation_report
    from pneumonia.reports.model_card import write_model_card
    from pneumonia.reports.results import read_results
    from pneumonia.stats.paired import in_words
    from pneumonia.tracking import runs
    from pneumonia.tracking.store import connected

    block, audit = params.evaluate, read_audit(AUDIT)
    table = read_manifest(DATA)
    rows = table[table["split"].isin(evaluate.SPLITS)]
    kinds = attributes(rows, table[table["split"] == "train"], audit["near_duplicates"])
    images = load_images(DATA, rows)
    validation = images[(rows["split"] == "val").to_numpy()]
    graphs = {name: Graph(MODELS / name / "graph.onnx") for name in NAMES}
    outputs = {name: graph.run(images) for name, graph in graphs.items()}
    logits = {name: outputs[name][0] for name in NAMES}
    seen = robustness.shifted_logits(graphs, logits, rows, images, block.shift_images, block.seed)
    found = {
        name: evaluate.evaluate_model(
            name, outputs[name], graph.sha256, rows, kinds, robustness.pool(seen, name), block
        )
        for name, graph in graphs.items()
    }
    points = {name: found[name].point for name in NAMES}
    shifts = robustness.measure(seen, points)
    chosen = evaluate.better(found, shifts)
    compared = evaluate.compare(found["scratch"], found["transfer"], block)
    with replaced(REPORT) as folder:
        # Ids are hashes, so the first images of a split are as good as any.
        train = load_images(DATA, table[table["split"] == "train"].head(plausibility.IMAGES))
        plausibility.fit(train, validation[: plausibility.IMAGES]).save(folder / "plausibility.npz")
        write_files(folder, found, shifts, compared, audit["probes"])
        card = {name: asdict(points[name]) for name in NAMES}
        write_json(folder / "operating_point.json", {"better": chosen, "models": card})
        results = read_results(folder, DATA, MODELS, params.data.source, block)
        write_evaluation_report(folder, results)
        write_model_card(folder, results)
        with connected():
            for name, one in found.items():
                with runs.open_run(MODELS / name, table):
                    runs.log_evaluation(
                        one.metrics, one.intervals, robustness.summary(shifts, name, "val"),
                        one.point, folder,
                    )  # fmt: skip
            one, model = found[chosen], MODELS / chosen
            candidate = registration.Candidate(chosen, model, one.graph_sha256, one.point, folder)
            scored = of_validation(one.graph_sha256, logits[chosen], rows, seen, chosen)
            # From within the run of the model that is registered.
            with runs.open_run(model, table):
                version = registration.register(block.registered_model, candidate)
                decision = promotion.decide(
                    block.registered_model, version, scored, table, validation,
                    digest(DATA), partial(behaviour.failed_by, graphs[chosen], one.point), block,
                )  # fmt: skip
    print(f"evaluate: {in_words(compared['test'])}")
    print(f"evaluate: {promotion.sentence(block.registered_model, decision)}")


if __name__ == "__main__":
    run("evaluate", __doc__, main)
