"""What the page of `evaluate` shows of the images that were decided wrongly.

The page of `evaluate`.
"""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
from PIL import Image

from pneumonia.datasets.manifest import image_path
from pneumonia.evaluation import robustness
from pneumonia.images.decoding import read_grey
from pneumonia.inference.predictor import NOTICE
from pneumonia.reports import evaluation_figures, evaluation_tables, style
from pneumonia.reports.evaluation_figures import heat_table
from pneumonia.reports.evaluation_tables import errors_table, probability_text
from pneumonia.reports.model_card import SOURCES
from pneumonia.reports.page import ReportFigure, Section, Thumbnail, write_page
from pneumonia.reports.results import Results
from pneumonia.stats.calibration import BINS

SHOWN = 12  # images a model
SIDE = 192  # px


def error_sections(results: Results) -> list[Section]:
    """The sections on errors: counts by attribute, and the most confident ones with their images."""
    found = [
        Section(
            "Errors",
            [
                "Where the models go wrong at their operating points. An attribute of the file "
                "that changes the error rate, such as its size, hints at a shortcut; groups are "
                "small, so read the intervals."
            ],
            errors_table(results, results.models),
        )
    ]
    for model in results.models:
        rows = results.confident_errors[results.confident_errors["model"] == model]
        images = [_image(row, results.points[model]["threshold"], results.images)
                 for _, row in rows.head(SHOWN).iterrows()]  # fmt: skip
        found.append(
            Section(
                f"Most confident errors of {model}",
                [_in_words(results.curves["confusion"][model], len(images))],
                images=images,
                level=3,
            )
        )
    return found


def _in_words(decisions: pd.DataFrame, shown: int) -> str:
    wrong = decisions[decisions["actual"] != decisions["predicted"]]
    if wrong.empty:
        return f"None of the {len(decisions):,} test images is decided wrongly."
    missed = int((wrong["actual"] == "PNEUMONIA").sum())
    how = "All are shown" if shown == len(wrong) else f"The {shown} most confident are shown"
    return (
        f"{len(wrong):,} of {len(decisions):,} test images are decided wrongly: {missed:,} missed, "
        f"{len(wrong) - missed:,} false alarms. {how}, the most confident first."
    )


def _image(row: pd.Series, threshold: float, folder: Path) -> Thumbnail:
    probability = probability_text(float(row["probability"]))
    name, kind = str(row["image_id"])[:8], str(row["subtype"])
    sick = "normal image" if kind == "normal" else f"pneumonia ({kind})"
    return Thumbnail(
        thumbnail(image_path(folder, str(row["image_id"]))),
        f"Chest X-ray {name}, {row['error']}: {sick}, probability {probability}",
        [
            f"{row['error']}: {kind}",
            f"probability {probability}",
            f"{'<' if row['error'] == 'missed' else '≥'} threshold {threshold:.3f}",
            f"size {row['size']}",
            f"aspect {row['aspect']}, {row['mode']}",
            f"image {name}",
        ],
    )


def thumbnail(path: Path) -> bytes:
    """A prepared image as a PNG of `SIDE` px, without metadata."""
    image = Image.fromarray(read_grey(path)).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


IN_SAMPLE = (
    "Threshold and calibration were fitted to these images: all figures here but AUC and average "
    "precision flatter the models, and their intervals with them."
)
LIMITS = [
    "Age and sex are not in the data, nor is the device or the hospital of an image: no subgroup of "
    "these can be examined. All images of a data set come from one source, so nothing here says how "
    "a model does elsewhere. A network at AUC .95 on the Kermany images fell to .54 on children of "
    "another hospital (Xin 2021).",
    "The shifts change what machines and files change; they do not bring other patients, other "
    "diseases or other labels.",
    "Intervals are by patient and pointwise. Many figures are shown, and some differences among "
    "them are chance.",
]


def write_evaluation_page(folder: Path, results: Results) -> None:
    """Write the figures and `evaluation.html` into `folder`."""
    style.apply()
    _draw(folder, results)
    chosen = results.chosen
    means = {
        name: robustness.summary(results.robustness, name, "val")["mean"]["auc"]
        for name in results.models
    }
    others = ", ".join(f"{name} {means[name]:.3f}" for name in results.models if name != chosen)
    lead = (
        f"Two models on the same images. Chosen by mean validation AUC under shift: {chosen} "
        f"({means[chosen]:.3f}; {others})."
    )
    sections = [
        *_result(folder, results),
        *_operating_point(folder, results),
        _curves(folder, results),
        _subgroups(folder, results),
        *_robustness(folder, results),
        *error_sections(results),
        Section("Validation", [IN_SAMPLE], evaluation_tables.metrics_table(results, "val")),
        Section(
            "Training",
            figures=[
                ReportFigure(
                    folder / "learning_curves.png",
                    "Loss and validation AUC of both models by epoch",
                    "Of the averaged weights. Epoch 0 of transfer is the head on the frozen "
                    "backbone.",
                )
            ],
        ),
        Section("Limits", LIMITS),
    ]
    write_page(folder / "evaluation.html", "Evaluation", lead, sections, NOTICE, contents=True)


def _draw(folder: Path, results: Results) -> None:
    models, curves = results.models, results.curves
    thresholds = {name: results.points[name]["threshold"] for name in models}
    value = {
        metric: {name: results.interval(name, "test", metric)[0] for name in models}
        for metric in ("sensitivity", "specificity", "ppv")
    }
    at = {name: (1 - value["specificity"][name], value["sensitivity"][name]) for name in models}
    at_precision = {name: (value["sensitivity"][name], value["ppv"][name]) for name in models}
    of_test = results.intervals[results.intervals["split"] == "test"]
    groups = results.subgroups[results.subgroups["split"] == "test"]
    legends = {
        metric: {name: results.text(name, "test", metric) for name in models}
        for metric in ("auc", "average_precision")
    }
    decisions = curves["confusion"]
    prevalence = float((decisions[models[0]]["actual"] == "PNEUMONIA").mean())
    drawn = {
        "roc": evaluation_figures.roc(curves["roc"], legends["auc"], at),
        "precision_recall": evaluation_figures.precision_recall(
            curves["precision_recall"], legends["average_precision"], at_precision, prevalence
        ),
        "calibration": evaluation_figures.calibration(
            curves["reliability_uncalibrated"], curves["reliability"]
        ),
        "confusion": evaluation_figures.confusion(decisions),
        "scores": evaluation_figures.scores(curves["scores"], thresholds),
        "decision": evaluation_figures.decision(curves["decision"], thresholds),
        "comparison": evaluation_figures.metrics(of_test),
        "contenders": evaluation_figures.contenders(results.contenders),
        "subgroups": evaluation_figures.subgroups(groups),
        "robustness": heat_table(results.robustness, "test"),
        "learning_curves": evaluation_figures.learning_curves(results.histories),
    }
    for name, figure in drawn.items():
        style.save(figure, folder / f"{name}.png")


def _result(folder: Path, results: Results) -> list[Section]:
    how = (
        f"95 % intervals: {results.params.bootstrap:,} bootstrap resamples of patients; of the AUC "
        "also by DeLong, clustered on patients. Choice of model, thresholds and calibration were "
        "fixed on validation; the test images were scored once, with them. Where no image is decided "
        "wrongly the limit is that of Clopper and Pearson. The calibration error is over "
        f"{BINS} bins of equal count."
    )
    return [
        Section(
            "Result",
            [SOURCES[results.source], results.comparison["test"]["in_words"], how],
            evaluation_tables.metrics_table(results, "test"),
            [
                ReportFigure(
                    folder / "comparison.png",
                    "Metrics of both models on the test images as points with intervals",
                    "Squares: scratch; dots: transfer. Bars: 95 % intervals.",
                )
            ],
        ),
        Section(
            " against ".join(results.models).capitalize(),
            table=evaluation_tables.comparison_table(results),
        ),
        Section(
            "Models and shortcut probes",
            [
                "A probe is a logistic regression trained on the train images. It sees the source "
                "file's size, aspect and bytes (file), the outer frame of the image (border) or the "
                "image at 8x8 px (thumbnail).",
                evaluation_tables.probes_in_words(results),
            ],
            evaluation_tables.contenders_table(results),
            [
                ReportFigure(
                    folder / "contenders.png",
                    "AUC of models and shortcut probes on the test images with intervals",
                )
            ],
            level=3,
        ),
    ]


def _operating_point(folder: Path, results: Results) -> list[Section]:
    rule, method = results.params.threshold, results.params.calibration
    return [
        Section(
            "Operating point",
            [
                f"Rule {rule}: {evaluation_tables.rule_in_words(rule)}, on the validation images together with "
                "their mildly and medium shifted versions. Unshifted images of one hospital are "
                "told apart almost without error, so that every threshold in a wide gap between "
                "the classes would be the best. An image is called pneumonia at a probability at "
                "or above the threshold.",
                "Probability = sigmoid(slope * logit + intercept).",
            ],
            evaluation_tables.operating_points(results),
            [
                ReportFigure(
                    folder / "scores.png",
                    "Test images by probability and class, with the threshold of each model",
                    "Pneumonia upwards, normal downwards. Heights go with the square root of the "
                    "count, so that single wrong images are seen.",
                ),
                ReportFigure(
                    folder / "confusion.png",
                    "Test images by label and decision of each model",
                    "Percentages are of the images with that label.",
                ),
            ],
        ),
        Section(
            "Calibration",
            [
                f"Method {method}: {evaluation_tables.method_in_words(method)}, fitted on the unshifted "
                "validation images by least log loss. Right are a slope of 1 and an intercept of 0; "
                "a slope below 1 means too extreme, an intercept below 0 too high probabilities."
            ],
            evaluation_tables.calibration_table(results, results.models),
            [
                ReportFigure(
                    folder / "calibration.png",
                    "Observed share of pneumonia by probability, before and after calibration",
                    f"{BINS} bins of equal count with 95 % intervals; on the dotted line a "
                    "probability means what it says.",
                )
            ],
        ),
        Section(
            "Predictive values",
            [
                "Predictive values hold for the share of pneumonia in these images. Where fewer are "
                "ill, with sensitivity and specificity as here, more of the calls are false alarms."
            ],
            evaluation_tables.predictive_values(results, results.models),
        ),
    ]


def _curves(folder: Path, results: Results) -> Section:
    return Section(
        "Curves",
        [f"{evaluation_tables.counted(results, 'test')}. Bands: 95 %, pointwise, by bootstrap of patients."],
        figures=[
            ReportFigure(
                folder / "roc.png", "ROC curves of both models on the test images, with bands",
                "Dotted: a guess.",
            ),
            ReportFigure(
                folder / "precision_recall.png",
                "Precision by recall of both models on the test images, with bands",
                "Dotted: a guess, the share of pneumonia in these images.",
            ),
            ReportFigure(
                folder / "decision.png",
                "Net benefit of both models by threshold probability, with bands",
                "True calls less false alarms, these weighed by the odds of the threshold "
                "probability (Vickers 2006), at the prevalence of these images. A model is of use "
                "where it lies above both lines.",
            ),
        ],
    )  # fmt: skip


def _subgroups(folder: Path, results: Results) -> Section:
    return Section(
        "Subgroups",
        [
            "Each subtype of pneumonia with all normal images, and images by tercile of the source "
            "file's pixels. Age and sex are not in the data."
        ],
        evaluation_tables.subgroups_table(results, results.models),
        [
            ReportFigure(
                folder / "subgroups.png",
                "AUC, sensitivity and specificity of both models by subgroup, with intervals",
                "In brackets: images. Squares: scratch; dots: transfer. Bars: 95 % intervals.",
            )
        ],
    )


def _robustness(folder: Path, results: Results) -> list[Section]:
    validation, test = (
        {name: robustness.summary(results.robustness, name, split) for name in results.models}
        for split in ("val", "test")
    )
    heat = ReportFigure(
        folder / "robustness.png",
        "AUC, sensitivity and specificity of both models under every shift",
        evaluation_tables.caption(),
    )
    return evaluation_tables.robustness_sections(heat, validation, test)
