"""What the model card says that no figure decides.

The model card of the model that goes to the registry.

Sections as in Mitchell et al. 2019 (Model Cards for Model Reporting, FAT* '19); items of TRIPOD+AI
(Collins et al. 2024, BMJ 385:e078378) are named where they apply, and listed at the end. All
figures are those of `evaluate`'s files; nothing in the card depends on clock or place.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pneumonia.evaluation import robustness
from pneumonia.inference.predictor import NOTICE
from pneumonia.reports import evaluation_tables
from pneumonia.reports.page import Section, Table, markdown, write_page
from pneumonia.reports.results import NAMES, Results, with_interval
from pneumonia.stats.calibration import BINS

LEAD = (
    "Sections after Mitchell et al. 2019; TRIPOD+AI items (Collins et al. 2024) where they apply. "
    "Figures in brackets are 95 % intervals by patient, as far as the source tells patients apart."
)
INTENDED = (
    "To show, teach and compare methods on frontal chest radiographs of the kind that the model "
    "was trained on: a pipeline with honest figures, not a product."
)
USES = {
    "users": "researchers, teachers and engineers who work on medical imaging",
    "in scope": "studies of methods with intervals; teaching; tests of software that serves models",
    "out of scope": "diagnosis, triage, second reading or any other part in anyone's care; adults, "
    "newborns and other hospitals; lateral images and other examinations; other lung disease, which "
    "the model can only call normal or pneumonia",
}
FACTORS = [
    "Age and sex are not in the data, nor are symptoms, device, hospital or view: performance by "
    "these is not known and cannot be examined. (TRIPOD+AI 14)",
    "What another machine, hospital or file changes in an image is simulated: exposure, blur, noise, "
    "JPEG, cropping and others at three strengths.",
]
EVALUATION = (
    "Validation chose threshold, calibration and the better of two models; the test images were "
    "scored once, after that. No patient id is in two splits. Both come from the same source as "
    "the training images: this is internal validation. (TRIPOD+AI 5a, 12a, 16, 20)"
)
TRAINING = (
    "Split by patient. Images become a grey square, padded and not squashed, so that the source "
    "file's shape tells less. An audit looks for leaks, copies and shortcuts before training. "
    "(TRIPOD+AI 5a, 7, 12a, 21)"
)
_KERMANY = (
    "Frontal chest radiographs of children of 1 to 5 years from routine care at one hospital, "
    "Guangzhou Women and Children's Medical Center; labels by two physicians, those of the "
    "official test set checked by a third (Kermany et al. 2018, Cell 172(5):1122)."
)
SOURCES = {
    "phantom": "Images drawn by the program. They show that the pipeline works, and nothing about "
    "patients.",
    "folder": "Images of the user's own folder, in the layout of the Kermany set. If they are that "
    f"set: {_KERMANY}",
    "kaggle": _KERMANY,
    "medmnist": "PneumoniaMNIST (Yang et al. 2023), the Kermany set cropped to squares. "
    f"{_KERMANY} No patient ids are published, so splits and intervals are by image.",
    "table": "Images of the user's own, with labels from the user's table.",
}
LICENCES = {
    "phantom": "none needed, the images are drawn",
    "folder": "the user's to know; of the Kermany set CC BY 4.0, doi 10.17632/rscbjbr9sj",
    "kaggle": "CC BY 4.0, doi 10.17632/rscbjbr9sj",
    "medmnist": "CC BY 4.0, doi 10.5281/zenodo.10519652 and doi 10.17632/rscbjbr9sj",
    "table": "the user's to know",
}
_CHILDREN = (
    "The images are of children who were ill. Kermany et al. report the approval of their "
    "institutional review board; the images carry no names, and no one is to be identified. "
    "(TRIPOD+AI 17)"
)
ETHICS = {
    "phantom": "No person's data are in the model's training, apart from what a backbone brings. "
    "(TRIPOD+AI 17)",
    "folder": f"If the images are the Kermany set: {_CHILDREN}",
    "kaggle": _CHILDREN,
    "medmnist": _CHILDREN,
    "table": "Approval and consent are the user's to obtain. Names and ids of DICOM headers are "
    "not kept. (TRIPOD+AI 17)",
}
RISKS = [
    "A missed pneumonia can cost a child's life; a false alarm costs antibiotics, radiation and "
    "days in hospital. Neither cost is known to the model unless the threshold's rule names them.",
    "A probability with a heat map invites more trust than it has earned: a map shows where a "
    "score came from, not that there is disease.",
]
CAVEATS = [
    "External validity is poor. A network at AUC .95 on the Kermany images fell to .54 on 383 "
    "children of the NIH set (Xin 2021). Assume the same of this model until it is measured. "
    "(TRIPOD+AI 26)",
    "Hold-outs of this kind saturate, and simple shortcuts come close to the models: read the AUC "
    "beside the probes below the figures.",
    "Before any use elsewhere: measure it on local images with local labels, choose the threshold "
    "and the calibration anew, and watch both over time. (TRIPOD+AI 27c)",
    "A file that is no radiograph gets an answer all the same: only broken or blank files are "
    "refused. (TRIPOD+AI 27a)",
]
TRIPOD = [
    ("3b", "target population, use, users", "Intended use"),
    ("5a", "data sources", "Evaluation data, Training data"),
    ("5b", "dates of the data", "missing: not published with the images"),
    ("6a, 6b", "setting, eligibility", "Training data; criteria missing beyond what is published"),
    ("7", "data preparation", "Training data, Model details (input)"),
    ("8a, 8b", "outcome, its assessors", "Evaluation data; no clinical reference standard"),
    ("10", "sample size", "what there is; the intervals say what it allows"),
    ("11", "missing data", "images that cannot be read stop the pipeline or are listed"),
    ("12a", "partition of the data", "Evaluation data, Training data"),
    ("12c", "model, training", "Model details"),
    ("12e", "measures of performance", "Metrics"),
    ("12f, 24", "updating, recalibration", "Calibration before and after"),
    ("12g, 22", "how predictions are made", "Model details; the graph is registered with the card"),
    ("13", "class imbalance", "Model details (training: balance)"),
    ("14", "fairness", "Factors; age and sex missing"),
    ("15", "output, threshold", "Model details, Metrics"),
    ("16", "training against evaluation data", "Evaluation data"),
    ("17", "ethical approval", "Ethical considerations"),
    ("18a, 18b, 19", "funding, interests, patients' part", "missing: not a clinical study"),
    ("18e, 18f", "data and code", "Model details, Evaluation data (licences)"),
    ("20, 21", "participants, events", "Evaluation data, Training data"),
    ("23a", "performance with intervals, subgroups", "Quantitative analyses, Subgroups"),
    ("23b", "heterogeneity between sites", "missing: one site; Robustness stands in for it"),
    ("25, 26", "interpretation, limits", "Caveats and recommendations"),
    ("27a, 27b, 27c", "poor input, users, next steps", "Intended use, Caveats and recommendations"),
]


def architecture(model: str, params: dict[str, Any]) -> str:
    """What the network is; `params` of its training."""
    head = "global average pooling and one dense unit"
    if model == "scratch":
        widths = ", ".join(str(width) for width in params["widths"])
        return f"residual network, channels {widths}, from random weights; {head}"
    tuned = params["fine_tune_blocks"] if params["epochs"] else 0
    blocks = f"up to {tuned} blocks fine-tuned" if tuned else "frozen"
    return f"{params['backbone']} from {params['weights']} weights, {blocks}; {head}"


def settings(params: dict[str, Any]) -> str:
    """How the network was trained, in a line."""
    names = ("seed", "epochs", "batch_size", "learning_rate", "weight_decay", "label_smoothing",
             "average", "balance", "precision")  # fmt: skip
    told = [f"{name.replace('_', ' ')} {params[name]}" for name in names if name in params]
    return ", ".join(told) + "; AdamW, cosine schedule, augmented images"


def weights_licence(model: str, params: dict[str, Any], source: str) -> str:
    """Under which licences the weights lie."""
    images = f"trained on images: {LICENCES[source]}"
    if model == "scratch" or params["weights"] == "random":
        return images
    if params["backbone"] == "EfficientNetLite0" and params["weights"] == "imagenet":
        return f"backbone: EfficientNet-Lite0, ImageNet weights, Apache-2.0; {images}"
    return f"backbone: that of its {params['weights']} weights; {images}"


NAME = "model_card.md"
SPLITS = ("train", "val", "test")


def write_model_card(folder: Path, results: Results, name: str) -> Path:
    """Write model_card.md and the same as model_card.html; the path of the former."""
    title = f"Model card: {name} ({results.chosen})"
    sections = card(results)
    (folder / NAME).write_text(markdown(title, LEAD, sections, NOTICE), encoding="utf-8")
    write_page(folder / "model_card.html", title, LEAD, sections, NOTICE, contents=True)
    return folder / NAME


def card(results: Results) -> list[Section]:
    """The sections of the card, of the chosen model."""
    return [
        _details(results),
        Section(
            "Intended use",
            [f"{INTENDED} (TRIPOD+AI 3b, 27b)"],
            Table(["use", "what"], [[*pair] for pair in USES.items()]),
        ),
        Section("Factors", [*FACTORS, _groups(results)]),
        _metrics(results),
        _data("Evaluation data", results, ("val", "test"), EVALUATION),
        _data("Training data", results, ("train",), TRAINING),
        *_analyses(results),
        Section("Ethical considerations", [ETHICS[results.source], *RISKS]),
        Section("Caveats and recommendations", CAVEATS),
        Section(
            "TRIPOD+AI items",
            ["Item numbers of the checklist of 2024. What is missing is said to be."],
            Table(["item", "topic", "in this card"], [[*row] for row in TRIPOD]),
        ),
    ]


def _details(results: Results) -> Section:
    model = results.chosen
    training, point = results.trainings[model], results.points[model]
    size = training["image_size"]
    rows = {
        "model": architecture(model, training["params"]),
        "weights": f"{training['weights']:,} numbers",
        "input": f"one frontal chest radiograph as a grey square of {size} px, 8 bit, padded, not "
        "squashed; JPEG, PNG or DICOM",
        "output": "probability of pneumonia, calibrated; a decision at the threshold; a class "
        "activation map",
        "probability": f"sigmoid({point['slope']:.3f} * logit + {point['intercept']:z.3f})",
        "threshold": f"{point['threshold']:.3f}; rule {results.params.threshold}",
        "training": settings(training["params"]),
        "developed by": "whoever ran the pipeline; the code is its repository's, MIT licence",
        "licence of the weights": weights_licence(
            model, training["params"], results.source
        ),
        "graph, SHA-256": results.graphs[model],
        "images, SHA-256": training["data_digest"],
        "version and date": "those of the registry; not in the card, so that the same model has "
        "the same card",
    }  # fmt: skip
    return Section(
        "Model details",
        ["(TRIPOD+AI 12c, 12g, 15, 22)"],
        Table(["item", "value"], [[*pair] for pair in rows.items()]),
    )


def _metrics(results: Results) -> Section:
    rule, method = results.params.threshold, results.params.calibration
    return Section(
        "Metrics",
        [
            "Ranking: AUC and average precision. Decisions at the threshold: sensitivity, "
            "specificity, predictive values, accuracy, F1 and Matthews correlation. Probabilities: "
            f"Brier score, expected calibration error ({BINS} bins of equal count), calibration "
            "slope and intercept. Use: net benefit, in the report beside this card. (TRIPOD+AI "
            "12e)",
            f"Threshold: {rule}, {evaluation_tables.rule_in_words(rule)}, on validation images and their "
            f"milder shifts. Calibration: {method}, {evaluation_tables.method_in_words(method)}, on "
            "validation images.",
            f"Intervals: 95 %, {results.params.bootstrap:,} bootstrap resamples of patients with "
            "all of their images.",
        ],
    )


def _data(title: str, results: Results, splits: tuple[str, ...], why: str) -> Section:
    manifest = results.manifest
    rows = []
    for split in splits:
        part = manifest[manifest["split"] == split]
        ill, patients = int(part["label"].sum()), part["patient_id"].nunique()
        kinds = part["subtype"].value_counts().sort_index()
        told = ", ".join(f"{kind} {count:,}" for kind, count in kinds.items())
        rows.append(
            [evaluation_tables.SPLITS.get(split, split), f"{len(part):,}", f"{patients:,}",
             f"{ill:,} ({100 * ill / len(part):.1f} %)", told]
        )  # fmt: skip
    columns = ["split", "images", "patients", "pneumonia", "subtypes"]
    source = [SOURCES[results.source], f"Licence: {LICENCES[results.source]}."]
    return Section(title, [*source, why], Table(columns, rows))


def _analyses(results: Results) -> list[Section]:
    model = results.chosen
    metrics = [[name, results.text(model, "test", metric)] for metric, name in NAMES.items()]
    worst = robustness.summary(results.robustness, model, "test")
    return [
        Section(
            "Quantitative analyses",
            ["(TRIPOD+AI 23a, 23b, 24) All on the test images, at the threshold fixed before."],
            Table(
                ["metric", "value"],
                metrics,
                f"{evaluation_tables.counted(results, 'test')}. {evaluation_tables.INTERVALS}",
            ),
        ),
        Section(
            "Calibration before and after", [], evaluation_tables.calibration_table(results, [model]), level=3
        ),
        Section(
            "Predictive values by prevalence", [], evaluation_tables.predictive_values(results, [model]),
            level=3,
        ),
        Section(
            "Subgroups",
            [
                "Unitary: each subtype of pneumonia with all normal images, and terciles of the "
                "source file's size. Intersectional: not examined; age and sex are not in the data."
            ],
            evaluation_tables.subgroups_table(results, [model]),
            level=3,
        ),
        Section(
            "Robustness, worst cases",
            [evaluation_tables.robustness_in_words(model, worst)],
            evaluation_tables.worst_table({model: worst}),
            level=3,
        ),
        Section(
            "Against the other model and against shortcuts",
            [results.comparison["test"]["in_words"], evaluation_tables.probes_in_words(results)],
            evaluation_tables.contenders_table(results),
            level=3,
        ),
    ]  # fmt: skip


def _groups(results: Results) -> str:
    table = results.subgroups
    rows = table[(table["split"] == "test") & (table["model"] == results.chosen)]
    known = rows[rows["sensitivity"].notna()]
    if known.empty:
        return "No subgroup of the test images has pneumonia."
    low = known.sort_values("sensitivity", kind="stable").iloc[0]
    said = with_interval(low["sensitivity"], low["sensitivity_low"], low["sensitivity_high"])
    return (
        "Examined are the subtype of pneumonia and the size of the source file. The lowest "
        f"sensitivity is that of {evaluation_tables.group_name(low['attribute'], low['group'])}: {said}."
    )
