"""Score both exported graphs, register the better one in MLflow as the champion.

Reads the block `evaluate` of params.yaml; writes reports/evaluate, and to the MLflow store.
"""

from dataclasses import asdict
from pathlib import Path

import pandas as pd

from pneumonia import registry, tracking
from pneumonia.data.manifest import read_manifest
from pneumonia.evaluation import evaluate
from pneumonia.params import Params
from pneumonia.stage import replaced, run, write_json

DATA, MODELS, REPORT = Path("data/prepared"), Path("models"), Path("reports/evaluate")
NAMES = ("scratch", "transfer")


def main(params: Params) -> None:
    """Write reports/evaluate; add the figures to the trainings' runs; register the champion."""
    block = params.evaluate
    table = read_manifest(DATA)
    found = {
        name: evaluate.evaluate_model(name, MODELS / name / "graph.onnx", table, DATA, block)
        for name in NAMES
    }
    chosen = evaluate.champion(found)
    with replaced(REPORT) as folder:
        predictions = pd.concat([found[name].predictions for name in NAMES])
        predictions.to_csv(folder / "predictions.csv", index=False, lineterminator="\n")
        write_json(folder / "metrics.json", evaluate.as_metrics(found))
        points = {name: asdict(found[name].point) for name in NAMES}
        write_json(folder / "operating_point.json", {"champion": chosen, "models": points})
        _draw(folder, found, predictions, chosen, block.bootstrap)
        _track(folder, found, chosen, block.registered_model)


def _draw(
    folder: Path,
    found: dict[str, evaluate.Evaluation],
    predictions: pd.DataFrame,
    chosen: str,
    bootstrap: int,
) -> None:
    from pneumonia.reporting import evaluation_figures as figures
    from pneumonia.reporting import style
    from pneumonia.reporting.evaluation_page import with_interval, write_evaluation_page

    style.apply()
    test = predictions[predictions["split"] == "test"]
    points = figures.roc_table(test)
    for name, curve in points.groupby("model"):
        curve.to_csv(folder / f"roc_{name}.csv", index=False, lineterminator="\n")
    aucs = {name: with_interval(found[name], "test", "auc") for name in NAMES}
    at = {
        name: (1 - metrics["specificity"], metrics["sensitivity"])
        for name, metrics in ((name, found[name].metrics["test"]) for name in NAMES)
    }
    histories = {name: pd.read_csv(MODELS / name / "history.csv") for name in NAMES}
    thresholds = {name: found[name].point.threshold for name in NAMES}
    style.save(figures.roc(points, aucs, at), folder / "roc.png")
    style.save(figures.calibration(test), folder / "calibration.png")
    style.save(figures.scores(test, thresholds), folder / "scores.png")
    style.save(figures.learning_curves(histories), folder / "learning_curves.png")
    write_evaluation_page(folder, found, chosen, bootstrap)


def _track(folder: Path, found: dict[str, evaluate.Evaluation], chosen: str, name: str) -> None:
    # The champion last, so that its version is registered from within its own run.
    for model in sorted(found, key=lambda model: model == chosen):
        graph = MODELS / model / "graph.onnx"
        with tracking.open_run(MODELS / model):
            tracking.log_evaluation(found[model].metrics, found[model].intervals, folder)
            if model == chosen:
                version = registry.register(
                    name, graph, found[model].graph_sha256, found[model].point, model
                )
    print(f"evaluate: {chosen} is version {version} of '{name}', alias {registry.CHAMPION}")


if __name__ == "__main__":
    run("evaluate", __doc__, main)
