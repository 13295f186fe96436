"""Write the reports and the model card, register the chosen model in MLflow, promote it by rule.

Reads the block `register` of params.yaml and what evaluate and gradcam_report wrote; writes
reports/register, and to the MLflow store. Scores no image but those on which the present champion is
compared.
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
    """Write reports/register; log the figures to the runs of both trainings; register, promote."""
    from pneumonia.datasets.manifest import digest, load_images, read_manifest
    from pneumonia.evaluation import behaviour
    from pneumonia.evaluation.noninferiority import read_scored
    from pneumonia.inference.operating_point import OperatingPoints
    from pneumonia.inference.predictor import Graph
    from pneumonia.registry import log_figures, promotion, registration
    from pneumonia.reports.evaluation_page import write_evaluation_page
    from pneumonia.reports.gradcam_page import write_gradcam_page
    from pneumonia.reports.model_card import write_model_card
    from pneumonia.reports.results import read_results
    from pneumonia.tracking import runs
    from pneumonia.tracking.store import connected

    block = params.register
    points = OperatingPoints.read(EVALUATION / "operating_point.json")
    results = read_results(EVALUATION, DATA, MODELS, params.data.source, params.evaluate)
    maps = json.loads((GRADCAM / "metrics.json").read_text(encoding="utf-8"))
    with replaced(REPORT) as folder:
        write_evaluation_page(folder, results)
        write_gradcam_page(folder, GRADCAM, points.better, params.gradcam_report)
        write_model_card(folder, results, block.registered_model)
    print(f"register: {REPORT}/evaluation.html, {REPORT}/gradcam.html, {REPORT}/model_card.html")
    table = read_manifest(DATA)
    images = load_images(DATA, table[table["split"] == "val"])
    chosen, model = points.better, MODELS / points.better
    scored = read_scored(EVALUATION / "validation_logits.npz", chosen)
    point = points.points[chosen]
    candidate = registration.Candidate(chosen, model, scored.sha256, point, EVALUATION, REPORT)
    failed_checks = partial(behaviour.failed_checks, Graph(model / "graph.onnx"), point)
    with connected():
        for name, operating_point in points.points.items():
            with runs.open_run(MODELS / name, table):
                log_figures.log_evaluation(EVALUATION, name, operating_point)
                log_figures.log_explanations(maps[name], GRADCAM)
                log_figures.log_reports(REPORT)
        # From within the run of the model that is registered.
        with runs.open_run(model, table):
            version = registration.register(block.registered_model, candidate)
            decision = promotion.decide(
                block.registered_model, version, scored, table, images, digest(DATA),
                maps[chosen]["failed"], failed_checks,
                block.promotion, params.evaluate,
            )  # fmt: skip
    print(f"register: {promotion.sentence(block.registered_model, decision)}")


if __name__ == "__main__":
    run("register", __doc__, main)
