"""Score both exported graphs, register the better one in MLflow as the champion.

Reads the block `evaluate` of params.yaml; writes reports/evaluate, and to the MLflow store.
"""

from dataclasses import asdict
from pathlib import Path

import pandas as pd

from pneumonia import registry, tracking
from pneumonia.data.manifest import load_images, read_manifest
from pneumonia.evaluation import evaluate, robustness
from pneumonia.params import Params
from pneumonia.predictor import Graph
from pneumonia.stage import replaced, run, write_json

DATA, MODELS, REPORT = Path("data/prepared"), Path("models"), Path("reports/evaluate")
NAMES = ("scratch", "transfer")


def main(params: Params) -> None:
    """Write reports/evaluate; add the figures to the trainings' runs; register the champion."""
    from pneumonia.reporting.evaluation_page import write_evaluation_report

    block = params.evaluate
    table = read_manifest(DATA)
    rows = table[table["split"].isin(evaluate.SPLITS)]
    images = load_images(DATA, rows)
    graphs = {name: Graph(MODELS / name / "graph.onnx") for name in NAMES}
    found = {
        name: evaluate.evaluate_model(name, graph, rows, images, block)
        for name, graph in graphs.items()
    }
    points = {name: found[name].point for name in NAMES}
    shifts = robustness.measure(graphs, points, rows, images, block.shift_films, block.seed)
    chosen = evaluate.champion(found, shifts)
    histories = {name: pd.read_csv(MODELS / name / "history.csv") for name in NAMES}
    with replaced(REPORT) as folder:
        predictions = pd.concat([found[name].predictions for name in NAMES])
        predictions.to_csv(folder / "predictions.csv", index=False, lineterminator="\n")
        shifts.to_csv(folder / "robustness.csv", index=False, lineterminator="\n")
        write_json(folder / "metrics.json", evaluate.as_metrics(found, shifts))
        card = {"champion": chosen, "models": {name: asdict(points[name]) for name in NAMES}}
        write_json(folder / "operating_point.json", card)
        write_evaluation_report(folder, found, shifts, histories, chosen, block.bootstrap)
        _track(folder, found, shifts, chosen, block.registered_model)


def _track(
    folder: Path,
    found: dict[str, evaluate.Evaluation],
    shifts: pd.DataFrame,
    chosen: str,
    registered: str,
) -> None:
    # The champion last, so that its version is registered from within its own run.
    for name in sorted(found, key=lambda name: name == chosen):
        one, graph = found[name], MODELS / name / "graph.onnx"
        with tracking.open_run(MODELS / name):
            kept = robustness.summary(shifts, name, "val")
            tracking.log_evaluation(one.metrics, one.intervals, kept, folder)
            if name == chosen:
                version = registry.register(registered, graph, one.graph_sha256, one.point, name)
    print(f"evaluate: {chosen} is version {version} of '{registered}', alias {registry.CHAMPION}")


if __name__ == "__main__":
    run("evaluate", __doc__, main)
