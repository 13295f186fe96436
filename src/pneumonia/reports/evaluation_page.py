"""The evaluation page compares both models. Its numbers come from the files of `evaluate`."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from PIL import Image

from pneumonia.datasets.manifest import image_path
from pneumonia.evaluation import robustness
from pneumonia.images.decoding import read_grey
from pneumonia.inference.predictor import NOTICE
from pneumonia.reports import evaluation_figures as figures
from pneumonia.reports import evaluation_tables as tables
from pneumonia.reports import style
from pneumonia.reports.model_card import SOURCES
from pneumonia.reports.page import PageFigure, Section, Thumbnail, write_page
from pneumonia.reports.results import Results
from pneumonia.stats.calibration import BINS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 12  # number of errors shown per model
SIDE = 192  # width and height of the images of errors, px
LIMITS = [
    "The data contain no age, sex, device or hospital, so subgroups of these cannot be examined. "
    "All images of a data set come from one source, so nothing here shows how a model performs "
    "elsewhere. A network with an AUC of .95 on the Kermany images fell to .54 on children of "
    "another hospital (Xin 2021).",
    "The shifts simulate other machines and other files. They do not simulate other patients, "
    "diseases or labels.",
    "Intervals are by patient and pointwise. Among so many results, some differences are chance.",
]


def write_evaluation_page(folder: Path, results: Results) -> None:
    """Write the figures and `evaluation.html` into `folder`."""
    style.apply()
    for name, figure in _figures(results).items():
        style.save(figure, folder / f"{name}.png")
    validation, test = (
        {name: robustness.summary(results.robustness, name, split) for name in results.models}
        for split in ("val", "test")
    )
    chosen = results.chosen
    means = {name: f"{summary['mean']['auc']:.3f}" for name, summary in validation.items()}
    others = ", ".join(f"{name} {mean}" for name, mean in means.items() if name != chosen)
    lead = (
        f"Two models on the same images. The better one is {chosen}, by mean AUC under shift on "
        f"validation ({means[chosen]}; {others})."
    )
    sections = [
        *_result(results),
        *_operating_point(results),
        _curves(results),
        Section(
            "Subgroups",
            ["Each subtype of pneumonia together with all normal images, and images by tercile of "
             "the source file's number of pixels. Age and sex are not in the data."],
            tables.subgroups_table(results, results.models),
            [PageFigure(
                "subgroups",
                "AUC, sensitivity and specificity of both models by subgroup, with intervals",
                "In brackets: images. Squares: scratch; dots: transfer. Bars: 95 % intervals.",
            )],
        ),
        *_robustness(results, validation, test),
        *error_sections(results),
        Section(
            "Validation",
            ["Threshold and calibration were fitted to these images. All metrics except AUC and "
             "average precision are therefore too optimistic, and so are their intervals."],
            tables.metrics_table(results, "val"),
        ),
        Section(
            "Training",
            figures=[PageFigure(
                "learning_curves", "Loss and validation AUC of both models by epoch",
                "With averaged weights. Epoch 0 of transfer is the trained head on the frozen "
                "backbone.",
            )],
        ),
        Section("Limits", LIMITS),
    ]  # fmt: skip
    write_page(folder / "evaluation.html", "Evaluation", lead, sections, NOTICE, contents=True)


def _figures(results: Results) -> dict[str, Figure]:
    """The figures of the page; the keys are the file names without `.png`."""
    return {
        "roc": figures.roc(results),
        "precision_recall": figures.precision_recall(results),
        "calibration": figures.calibration(results),
        "confusion": figures.confusion(results.curves["confusion"]),
        "scores": figures.scores(results),
        "decision": figures.decision(results),
        "comparison": figures.metrics(results.intervals[results.intervals["split"] == "test"]),
        "contenders": figures.contenders(results.contenders),
        "subgroups": figures.subgroups(results.subgroups[results.subgroups["split"] == "test"]),
        "robustness": figures.heat_table(results.robustness, "test"),
        "learning_curves": figures.learning_curves(results.histories),
    }


def _result(results: Results) -> list[Section]:
    method = (
        f"95 % intervals: {results.params.bootstrap:,} bootstrap resamples of patients; for the "
        "AUC also by DeLong, clustered by patient. The choice of the model, the thresholds and the "
        "calibration were fixed on validation before the test images were scored. Where a model "
        "makes no error, the limit is that of Clopper and Pearson. The calibration error uses "
        f"{BINS} bins of equal count."
    )
    return [
        Section(
            "Result",
            [SOURCES[results.source], results.comparison["test"]["in_words"], method],
            tables.metrics_table(results, "test"),
            [PageFigure(
                "comparison", "Metrics of both models on the test images as points with intervals",
                "Squares: scratch; dots: transfer. Bars: 95 % intervals.",
            )],
        ),
        Section(
            f"Comparison of {' and '.join(results.models)}", table=tables.comparison_table(results)
        ),
        Section(
            "Models and shortcut probes",
            ["A probe is a logistic regression trained on the training images. It sees only the "
             "source file's size, aspect and bytes (file), the outer frame of the image "
             "(border) or the image at 8x8 px (thumbnail).",
             tables.probes_in_words(results)],
            tables.contenders_table(results),
            [PageFigure(
                "contenders", "AUC of models and shortcut probes on the test images with intervals"
            )],
            level=3,
        ),
    ]  # fmt: skip


def _operating_point(results: Results) -> list[Section]:
    rule, method = results.params.threshold, results.params.calibration
    return [
        Section(
            "Operating point",
            [f"Rule {rule}: {tables.rule_in_words(rule)}, on the validation images together "
             "with their mildly and medium shifted versions. Unshifted images of one hospital "
             "are separated almost without error, so any threshold in a wide gap between the "
             "classes would be the best one. The decision is pneumonia if the probability is "
             "at or above the threshold.",
             "Probability = sigmoid(slope * logit + intercept)."],
            tables.operating_points(results),
            [PageFigure(
                "scores", "Test images by probability and class, with the threshold of each model",
                "Pneumonia upwards, normal downwards. The scale is the square root of the "
                "count, so that single errors are visible.",
            ),
             PageFigure(
                "confusion", "Test images by label and decision of each model",
                "Percentages are of the images with that label.",
            )],
        ),
        Section(
            "Calibration",
            [f"Method {method}: {tables.METHODS[method]}, fitted to the unshifted "
             "validation images by log loss. The ideal values are a slope of 1 and an intercept "
             "of 0. With a slope below 1 probabilities are too extreme, with an intercept below "
             "0 they are too high."],
            tables.calibration_table(results, results.models),
            [PageFigure(
                "calibration",
                "Observed share of pneumonia by probability, before and after calibration",
                f"{BINS} bins of equal count with 95 % intervals. On the dotted line the "
                "observed share equals the probability.",
            )],
        ),
        Section(
            "Predictive values",
            ["Predictive values depend on the prevalence of pneumonia. At a lower prevalence, "
             "with the same sensitivity and specificity, more of the positive decisions are "
             "false alarms."],
            tables.predictive_values(results, results.models),
        ),
    ]  # fmt: skip


def _curves(results: Results) -> Section:
    return Section(
        "Curves",
        [f"{tables.counted(results, 'test')}. Bands: 95 %, pointwise, by bootstrap of patients."],
        figures=[
            PageFigure(
                "roc", "ROC curves of both models on the test images, with bands",
                "Dotted: random guess.",
            ),
            PageFigure(
                "precision_recall", "Precision by recall of both models on the test images, with "
                "bands",
                "Dotted: random guess, the share of pneumonia in these images.",
            ),
            PageFigure(
                "decision", "Net benefit of both models by threshold probability, with bands",
                "Net benefit: true positives minus false positives, which are weighted by the odds "
                "of the threshold probability (Vickers 2006), at the prevalence of these images. A "
                "model is useful where its curve is above both reference lines.",
            ),
        ],
    )  # fmt: skip


def _robustness(
    results: Results, validation: dict[str, dict[str, Any]], test: dict[str, dict[str, Any]]
) -> list[Section]:
    return [
        Section(
            "Under shift",
            [f"{test[results.chosen]['images']:,} test images, each changed as another machine, "
             "hospital or file would change it, with the same threshold. Mild: a technician "
             "would not notice it; medium: an ordinary difference between hospitals; strong: "
             "the image is barely readable.",
             *(tables.robustness_in_words(*pair) for pair in test.items())],
            tables.worst_table(test),
            [PageFigure(
                "robustness",
                "AUC, sensitivity and specificity of both models under every shift",
                "The darker a cell, the larger the loss compared with the unshifted images; "
                f"{figures.WORST_SHOWN:g} and more have the darkest blue. Gains are white.",
            )],
        ),
        Section(
            "Means under shift",
            [f"Means over all shifts and strengths except {robustness.NOT_IN_MEAN}, which the "
             "program that reads the file should correct. The mean validation AUC decides "
             "between the models, because good models hardly differ on unshifted images of one "
             "hospital."],
            tables.mean_table(validation, test),
            level=3,
        ),
        Section("The shifts", table=tables.suite_table(), level=3),
    ]  # fmt: skip


def error_sections(results: Results) -> list[Section]:
    """The sections with error rates by attribute, and with images of the most confident errors."""
    sections = [
        Section(
            "Errors",
            ["Error rates of both models at their operating points. If an attribute of the file "
             "such as its size changes the error rate, the model may use a shortcut. The groups "
             "are small, so read the intervals."],
            tables.errors_table(results),
        )
    ]  # fmt: skip
    for model, decisions in results.curves["confusion"].items():
        rows = results.confident_errors[results.confident_errors["model"] == model].head(SHOWN)
        threshold = results.points[model].threshold
        shown = [_error(row, threshold, results.images) for _, row in rows.iterrows()]
        text = _errors_in_words(decisions, len(shown))
        title = f"Most confident errors of {model}"
        sections.append(Section(title, [text], thumbnails=shown, level=3))
    return sections


def _errors_in_words(decisions: pd.DataFrame, shown: int) -> str:
    errors = decisions[decisions["actual"] != decisions["predicted"]]
    if errors.empty:
        return f"None of the {len(decisions):,} test images is misclassified."
    missed = int((errors["actual"] == "PNEUMONIA").sum())
    which = "All are shown" if shown == len(errors) else f"The {shown} most confident are shown"
    return (
        f"{len(errors):,} of {len(decisions):,} test images are misclassified: {missed:,} missed, "
        f"{len(errors) - missed:,} false alarms. {which}, the most confident first."
    )


def _error(row: pd.Series, threshold: float, folder: Path) -> Thumbnail:
    probability = tables.probability_text(float(row["probability"]))
    image_id, subtype = str(row["image_id"]), str(row["subtype"])
    kind = "normal" if subtype == "normal" else f"pneumonia ({subtype})"
    pixels = Image.fromarray(read_grey(image_path(folder, image_id)))
    buffer = io.BytesIO()
    pixels.resize((SIDE, SIDE), Image.Resampling.LANCZOS).save(buffer, "PNG", optimize=True)
    return Thumbnail(
        buffer.getvalue(),
        f"Chest X-ray {image_id[:8]}, {row['error']}: {kind}, probability {probability}",
        [
            f"{row['error']}: {subtype}",
            f"probability {probability}",
            f"{'<' if row['error'] == 'missed' else '≥'} threshold {threshold:.3f}",
            f"size {row['size']}",
            f"aspect {row['aspect']}, {row['mode']}",
            f"image {image_id[:8]}",
        ],
    )
