"""The model card of the model that goes to the registry.

The sections follow Mitchell et al. 2019 (Model Cards for Model Reporting, FAT* '19). The card names
the items of TRIPOD+AI (Collins et al. 2024, BMJ 385:e078378) where they apply, and lists them at
the end. All numbers come from the files of `evaluate`; nothing depends on the time or the machine.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pneumonia.evaluation import robustness
from pneumonia.inference.predictor import NOTICE
from pneumonia.reports import evaluation_tables as tables
from pneumonia.reports.page import Section, Table, markdown, write_page
from pneumonia.reports.results import NAMES, Results, with_interval
from pneumonia.stats.calibration import BINS

NAME = "model_card.md"
LEAD = (
    "Sections after Mitchell et al. 2019, with the items of TRIPOD+AI (Collins et al. 2024) where "
    "they apply. In brackets: 95 % intervals by patient, if the source identifies patients."
)
_KERMANY = (
    "Frontal chest radiographs of children of 1 to 5 years from routine care at one hospital, "
    "Guangzhou Women and Children's Medical Center. Two physicians labelled the images; a third "
    "checked the labels of the official test set (Kermany et al. 2018, Cell 172(5):1122)."
)
_KERMANY_LICENCE = "CC BY 4.0, doi 10.17632/rscbjbr9sj"
_CHILDREN = (
    "The images are of children who were ill. Kermany et al. report the approval of their "
    "institutional review board. The images carry no names; do not try to identify anybody. "
    "(TRIPOD+AI 17)"
)
# Texts for each `data.source`: a description of the images, their licence, and the ethics.
SOURCES = {
    "phantom": "Images drawn by the program. They show that the pipeline works, and nothing about "
    "patients.",
    "folder": "Images from the user's folder, in the layout of the Kermany set. If they are that "
    f"set: {_KERMANY}",
    "kaggle": _KERMANY,
    "medmnist": "PneumoniaMNIST (Yang et al. 2023), the Kermany set cropped to squares. "
    f"{_KERMANY} It has no patient ids, so splits and intervals are by image.",
    "table": "The user's own images, with labels from the user's table.",
}
LICENCES = {
    "phantom": "none needed, the images are drawn",
    "folder": f"known to the user; of the Kermany set {_KERMANY_LICENCE}",
    "kaggle": _KERMANY_LICENCE,
    "medmnist": f"{_KERMANY_LICENCE} and doi 10.5281/zenodo.10519652",
    "table": "known to the user",
}
ETHICS = {
    "phantom": "No data of persons were used, except by the pretraining of a backbone. "
    "(TRIPOD+AI 17)",
    "folder": f"If the images are the Kermany set: {_CHILDREN}",
    "kaggle": _CHILDREN,
    "medmnist": _CHILDREN,
    "table": "The user must obtain approval and consent. Names and ids in DICOM headers are not "
    "kept. (TRIPOD+AI 17)",
}
# The training params that the card lists.
SETTINGS = ("seed", "epochs", "batch_size", "learning_rate", "weight_decay", "label_smoothing",
            "ema_decay", "balance", "precision")  # fmt: skip
USES = [
    ["users", "researchers, teachers and engineers who work on medical imaging"],
    ["in scope",
     "studies of methods with intervals; teaching; tests of software that serves models"],
    ["out of scope",
     "diagnosis, triage, second reading or any other part in anyone's care; adults, newborns and "
     "other hospitals; lateral images and other examinations; other lung disease, which the model "
     "can only label as normal or pneumonia"],
]  # fmt: skip
TRIPOD = [
    ["3b", "target population, use, users", "Intended use"],
    ["5a", "data sources", "Evaluation data, Training data"],
    ["5b", "dates of the data", "missing: not published with the images"],
    ["6a, 6b", "setting, eligibility", "Training data; eligibility only as far as published"],
    ["7", "data preparation", "Training data, Model details (input)"],
    ["8a, 8b", "outcome, its assessors", "Evaluation data; no clinical reference standard"],
    ["10", "sample size", "all available images; the intervals show the precision"],
    ["11", "missing data", "unreadable images stop the pipeline or are listed"],
    ["12a", "partition of the data", "Evaluation data, Training data"],
    ["12c", "model, training", "Model details"],
    ["12e", "measures of performance", "Metrics"],
    ["12f, 24", "updating, recalibration", "Calibration before and after"],
    ["12g, 22", "how predictions are made", "Model details; the graph is registered with the card"],
    ["13", "class imbalance", "Model details (training: balance)"],
    ["14", "fairness", "Factors; age and sex are missing"],
    ["15", "output, threshold", "Model details, Metrics"],
    ["16", "training and evaluation data", "Evaluation data"],
    ["17", "ethical approval", "Ethical considerations"],
    ["18a, 18b, 19", "funding, interests, patient involvement", "missing: not a clinical study"],
    ["18e, 18f", "data and code", "Model details, Evaluation data (licences)"],
    ["20, 21", "participants, events", "Evaluation data, Training data"],
    ["23a", "performance with intervals, subgroups", "Quantitative analyses, Subgroups"],
    ["23b", "heterogeneity between sites", "missing: one site; Robustness is a substitute"],
    ["25, 26", "interpretation, limits", "Caveats and recommendations"],
    ["27a, 27b, 27c", "poor input, users, next steps", "Intended use, Caveats and recommendations"],
]


def write_model_card(folder: Path, results: Results, name: str) -> Path:
    """Write model_card.md and model_card.html; `name` is the registered model's name.

    Returns:
        The path of model_card.md.
    """
    title = f"Model card: {name} ({results.chosen})"
    sections = [
        _details(results),
        Section(
            "Intended use",
            ["(TRIPOD+AI 3b, 27b) To show, teach and compare methods on frontal chest radiographs "
             "of the kind that the model was trained on. This is a pipeline with honest metrics, "
             "not a product."],
            Table(["use", "what"], USES),
        ),
        Section(
            "Factors",
            [_lowest_sensitivity(results),
             "The data do not contain age, sex, symptoms, device, hospital or view, so the "
             "performance by these is unknown. (TRIPOD+AI 14)",
             "The effect of another machine, hospital or file is simulated: exposure, blur, "
             "noise, JPEG, cropping and others at three strengths."],
        ),
        _metrics(results),
        _data(
            "Evaluation data", results, ("val", "test"),
            "The threshold, the calibration and the better of two models were chosen on "
            "validation; after that the test images were scored once. No patient id is in two "
            "splits. Both splits come from the same source as the training images: this is "
            "internal validation. (TRIPOD+AI 5a, 12a, 16, 20)",
        ),
        _data(
            "Training data", results, ("train",),
            "Split by patient. Images become a grey square, padded without distortion, so that the "
            "shape of the source file reveals less. Before training, an audit searches for leaks, "
            "copies and shortcuts. (TRIPOD+AI 5a, 7, 12a, 21)",
        ),
        *_analyses(results),
        Section(
            "Ethical considerations",
            [ETHICS[results.source],
             "A missed pneumonia can cost a child's life; a false alarm costs antibiotics, "
             "radiation and days in hospital. The model does not know these costs unless the "
             "rule of the threshold states them.",
             "A probability with a heat map suggests more certainty than there is: a map shows "
             "where a score came from, not that there is disease."],
        ),
        Section(
            "Caveats and recommendations",
            ["External validity is poor. A network with an AUC of .95 on the Kermany images "
             "fell to .54 on 383 children of the NIH set (Xin 2021). Assume the same of this "
             "model until it is measured. (TRIPOD+AI 26)",
             "On held-out images of the same hospital good models hardly differ, and simple "
             "shortcuts come close to them: compare the AUC with those of the probes.",
             "Before any use elsewhere: evaluate the model on local images with local labels, "
             "choose the threshold and the calibration again, and monitor both. (TRIPOD+AI 27c)",
             "A file that is not a radiograph gets a prediction, too: only broken and blank "
             "files are refused. (TRIPOD+AI 27a)"],
        ),
        Section(
            "TRIPOD+AI items",
            ["Numbers of the 2024 checklist. The list also names what is missing."],
            Table(["item", "topic", "in this card"], TRIPOD),
        ),
    ]  # fmt: skip
    (folder / NAME).write_text(markdown(title, LEAD, sections, NOTICE), encoding="utf-8")
    write_page(folder / "model_card.html", title, LEAD, sections, NOTICE, contents=True)
    return folder / NAME


def _details(results: Results) -> Section:
    model = results.chosen
    training, point = results.trainings[model], results.points[model]
    params = training["params"]
    rows = {
        "model": _architecture(model, params),
        "weights": f"{training['weights']:,} numbers",
        "input": f"one frontal chest radiograph (JPEG, PNG or DICOM), as a grey square of "
        f"{training['image_size']} px with 8 bits, padded without distortion",
        "output": "calibrated probability of pneumonia; decision at the threshold; class "
        "activation map",
        "probability": f"sigmoid({point.slope:.3f} * logit + {point.intercept:z.3f})",
        "threshold": f"{point.threshold:.3f}; rule {results.params.threshold}",
        "training": ", ".join(
            f"{name.replace('_', ' ')} {params[name]}" for name in SETTINGS if name in params
        ) + "; AdamW, cosine schedule, augmented images",
        "developed by": "the user of the pipeline; the code has the MIT licence",
        "licence of the weights": _weights_licence(model, params, results.source),
        "graph, SHA-256": results.graphs[model],
        "images, SHA-256": training["data_digest"],
        "version and date": "in the registry; not in the card, so that the same model has the same "
        "card",
    }  # fmt: skip
    table = Table(["item", "value"], [[*pair] for pair in rows.items()])
    return Section("Model details", ["(TRIPOD+AI 12c, 12g, 15, 22)"], table)


def _architecture(model: str, params: dict[str, Any]) -> str:
    """The network in words, from its training params."""
    head = "global average pooling and one dense unit"
    if model == "scratch":
        widths = ", ".join(str(width) for width in params["widths"])
        return f"residual network, channels {widths}, from random weights; {head}"
    tuned = params["fine_tune_blocks"] if params["epochs"] else 0
    blocks = f"up to {tuned} blocks fine-tuned" if tuned else "frozen"
    return f"{params['backbone']} from {params['weights']} weights, {blocks}; {head}"


def _weights_licence(model: str, params: dict[str, Any], source: str) -> str:
    images = f"trained on images: {LICENCES[source]}"
    if model == "scratch" or params["weights"] == "random":
        return images
    if params["backbone"] == "EfficientNetLite0" and params["weights"] == "imagenet":
        return f"backbone: EfficientNet-Lite0, ImageNet weights, Apache-2.0; {images}"
    return f"backbone: that of its {params['weights']} weights; {images}"


def _metrics(results: Results) -> Section:
    rule, method = results.params.threshold, results.params.calibration
    return Section(
        "Metrics",
        ["Ranking: AUC and average precision. Decisions at the threshold: sensitivity, "
         "specificity, predictive values, accuracy, F1 and Matthews correlation. Probabilities: "
         f"Brier score, expected calibration error ({BINS} bins of equal count), calibration "
         "slope and intercept. Benefit: net benefit, on the evaluation page. (TRIPOD+AI 12e)",
         f"Threshold: {rule}, {tables.rule_in_words(rule)}, on validation images and their mild "
         f"and medium shifts. Calibration: {method}, {tables.METHODS[method]}, on validation "
         "images.",
         f"Intervals: 95 %, {results.params.bootstrap:,} bootstrap resamples of patients with "
         "all of their images."],
    )  # fmt: skip


def _data(title: str, results: Results, splits: tuple[str, ...], method: str) -> Section:
    rows = []
    for split in splits:
        part = results.manifest[results.manifest["split"] == split]
        pneumonia = int(part["label"].sum())
        subtypes = part["subtype"].value_counts().sort_index()
        rows.append([
            tables.SPLITS.get(split, split), f"{len(part):,}", f"{part['patient_id'].nunique():,}",
            f"{pneumonia:,} ({100 * pneumonia / len(part):.1f} %)",
            ", ".join(f"{subtype} {count:,}" for subtype, count in subtypes.items()),
        ])  # fmt: skip
    columns = ["split", "images", "patients", "pneumonia", "subtypes"]
    source = [SOURCES[results.source], f"Licence: {LICENCES[results.source]}."]
    return Section(title, [*source, method], Table(columns, rows))


def _analyses(results: Results) -> list[Section]:
    model = results.chosen
    metrics = [[name, results.text(model, "test", metric)] for metric, name in NAMES.items()]
    caption = f"{tables.counted(results, 'test')}. {tables.INTERVALS}"
    worst = robustness.summary(results.robustness, model, "test")
    parts: list[tuple[str, list[str], Table]] = [
        ("Calibration before and after", [], tables.calibration_table(results, [model])),
        ("Predictive values by prevalence", [], tables.predictive_values(results, [model])),
        ("Subgroups",
         ["Single attributes: each subtype of pneumonia with all normal images, and terciles of "
          "the source file's size. Combinations of attributes are not examined; age and sex are "
          "not in the data."],
         tables.subgroups_table(results, [model])),
        ("Robustness, worst cases", [tables.robustness_in_words(model, worst)],
         tables.worst_table({model: worst})),
        ("Comparison with the other model and with shortcuts",
         [results.comparison["test"]["in_words"], tables.probes_in_words(results)],
         tables.contenders_table(results)),
    ]  # fmt: skip
    return [
        Section(
            "Quantitative analyses",
            ["(TRIPOD+AI 23a, 23b, 24) On the test images, at the threshold chosen on validation."],
            Table(["metric", "value"], metrics, caption),
        ),
        *(Section(*part, level=3) for part in parts),
    ]


def _lowest_sensitivity(results: Results) -> str:
    table = results.subgroups
    rows = table[(table["split"] == "test") & (table["model"] == results.chosen)]
    known = rows[rows["sensitivity"].notna()]
    if known.empty:
        return "No subgroup of the test images has pneumonia."
    low = known.sort_values("sensitivity", kind="stable").iloc[0]
    value = with_interval(low["sensitivity"], low["sensitivity_low"], low["sensitivity_high"])
    return (
        "Examined are the subtype of pneumonia and the size of the source file. The lowest "
        f"sensitivity is that of {tables.group_name(low['attribute'], low['group'])}: {value}."
    )
