"""Write the reports and model card; register the better model in MLflow; apply the promotion rule.

This stage reads the block `register` of params.yaml and the outputs of evaluate and gradcam_report.
It writes reports/register and to the MLflow store. It scores images again only to compare the new
version with the champion.
"""

import json
from functools import partial
from pathlib import Path

from pneumonia.core.config import Params
from pneumonia.core.files import replaced
from pneumonia.core.stage import run

DATA, MODELS, REPORT = Path("data/prepared"), Path("models"), Path("reports/register")
EVALUATION, GRADCAM = Path("reports/evaluate"), Path("reports/gradcam_report")


def main(params: Params) -> None:
    """Write reports/register, log figures to both trainings' runs, register, and apply the rule."""
    from pneumonia.datasets.manifest import digest, load_images, read_manifest
    from pneumonia.evaluation import behaviour
    from pneumonia.evaluation.noninferiority import read_logits
    from pneumonia.inference.operating_point import OperatingPoints
    from pneumonia.inference.predictor import Graph
    from pneumonia.registry import promotion, registration
    from pneumonia.registry.mlflow_metrics import log_metrics
    from pneumonia.reports.evaluation_page import write_evaluation_page
    from pneumonia.reports.gradcam_page import write_gradcam_page
    from pneumonia.reports.model_card import write_model_card
    from pneumonia.reports.results import read_results
    from pneumonia.tracking import runs
    from pneumonia.tracking.store import connected

    block = params.register
    chosen = OperatingPoints.read(EVALUATION / "operating_point.json")
    name, folder, point = chosen.better, MODELS / chosen.better, chosen.points[chosen.better]
    results = read_results(EVALUATION, DATA, MODELS, params.data.source, params.evaluate)
    with replaced(REPORT) as report:
        write_evaluation_page(report, results)
        write_gradcam_page(report, GRADCAM, name, params.gradcam_report)
        write_model_card(report, results, block.registered_model)
    print(f"register: {REPORT}/evaluation.html, {REPORT}/gradcam.html, {REPORT}/model_card.html")
    table = read_manifest(DATA)
    images = load_images(DATA, table[table["split"] == "val"])
    logits = read_logits(EVALUATION / "validation_logits.npz", name)
    candidate = registration.Candidate(name, folder, logits.sha256, point, EVALUATION, REPORT)
    maps = json.loads((GRADCAM / "metrics.json").read_text(encoding="utf-8"))
    failed_checks = partial(behaviour.failed_checks, Graph(candidate.graph), point)
    with connected():
        for model, model_point in chosen.points.items():
            with runs.open_run(MODELS / model, table):
                log_metrics(model, model_point, EVALUATION, GRADCAM, REPORT)
        # The version's tags and artifacts go to the run of its model.
        with runs.open_run(folder, table):
            version = registration.register(block.registered_model, candidate)
            decision = promotion.decide(
                block.registered_model, version, logits, table, images, digest(DATA),
                maps[name]["failed"], failed_checks, block.promotion, params.evaluate,
            )  # fmt: skip
    print(f"register: {promotion.sentence(block.registered_model, decision)}")


if __name__ == "__main__":
    run("register", __doc__, main)
