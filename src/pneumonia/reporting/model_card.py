"""The model card of the model that goes to the registry.

Sections as in Mitchell et al. 2019 (Model Cards for Model Reporting, FAT* '19); items of TRIPOD+AI
(Collins et al. 2024, BMJ 385:e078378) are named where they apply, and listed at the end. All
figures are those of `evaluate`'s files; nothing in the card depends on clock or place.
"""

from __future__ import annotations

from pathlib import Path

from pneumonia.evaluation import robustness
from pneumonia.evaluation.calibration import BINS
from pneumonia.predictor import NOTICE
from pneumonia.reporting import card_texts as texts
from pneumonia.reporting import evaluation_tables as tables
from pneumonia.reporting import robustness_page
from pneumonia.reporting.page import Section, Table, markdown, write_page
from pneumonia.reporting.results import NAMES, Results, with_interval

NAME = "model_card.md"
SPLITS = ("train", "val", "test")


def write_model_card(folder: Path, results: Results) -> Path:
    """Write model_card.md and the same as model_card.html; the path of the former."""
    title = f"Model card: {results.params.registered_model} ({results.chosen})"
    sections = card(results)
    (folder / NAME).write_text(markdown(title, texts.LEAD, sections, NOTICE), encoding="utf-8")
    write_page(folder / "model_card.html", title, texts.LEAD, sections, NOTICE, contents=True)
    return folder / NAME


def card(results: Results) -> list[Section]:
    """The sections of the card, of the chosen model."""
    return [
        _details(results),
        Section(
            "Intended use",
            [f"{texts.INTENDED} (TRIPOD+AI 3b, 27b)"],
            Table(["use", "what"], [[*pair] for pair in texts.USES.items()]),
        ),
        Section("Factors", [*texts.FACTORS, _groups(results)]),
        _metrics(results),
        _data("Evaluation data", results, ("val", "test"), texts.EVALUATION),
        _data("Training data", results, ("train",), texts.TRAINING),
        *_analyses(results),
        Section("Ethical considerations", [texts.ETHICS[results.source], *texts.RISKS]),
        Section("Caveats and recommendations", texts.CAVEATS),
        Section(
            "TRIPOD+AI items",
            ["Item numbers of the checklist of 2024. What is missing is said to be."],
            Table(["item", "topic", "in this card"], [[*row] for row in texts.TRIPOD]),
        ),
    ]


def _details(results: Results) -> Section:
    model = results.chosen
    training, point = results.trainings[model], results.points[model]
    size = training["image_size"]
    rows = {
        "model": texts.architecture(model, training["params"]),
        "weights": f"{training['weights']:,} numbers",
        "input": f"one frontal chest radiograph as a grey square of {size} px, 8 bit, padded, not "
        "squashed; JPEG, PNG or DICOM",
        "output": "probability of pneumonia, calibrated; a decision at the threshold; a class "
        "activation map",
        "probability": f"sigmoid({point['slope']:.3f} * logit + {point['intercept']:z.3f})",
        "threshold": f"{point['threshold']:.3f}; rule {results.params.threshold}",
        "training": texts.settings(training["params"]),
        "developed by": "whoever ran the pipeline; the code is its repository's, MIT licence",
        "licence of the weights": texts.weights_licence(
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
            f"Threshold: {rule}, {tables.rule_in_words(rule)}, on validation images and their "
            f"milder shifts. Calibration: {method}, {tables.method_in_words(method)}, on "
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
            [tables.SPLITS.get(split, split), f"{len(part):,}", f"{patients:,}",
             f"{ill:,} ({100 * ill / len(part):.1f} %)", told]
        )  # fmt: skip
    columns = ["split", "images", "patients", "pneumonia", "subtypes"]
    source = [texts.SOURCES[results.source], f"Licence: {texts.LICENCES[results.source]}."]
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
                f"{tables.counted(results, 'test')}. {tables.INTERVALS}",
            ),
        ),
        Section(
            "Calibration before and after", [], tables.calibration_table(results, [model]), level=3
        ),
        Section(
            "Predictive values by prevalence", [], tables.predictive_values(results, [model]),
            level=3,
        ),
        Section(
            "Subgroups",
            [
                "Unitary: each subtype of pneumonia with all normal images, and terciles of the "
                "source file's size. Intersectional: not examined; age and sex are not in the data."
            ],
            tables.subgroups_table(results, [model]),
            level=3,
        ),
        Section(
            "Robustness, worst cases",
            [robustness_page.in_words(model, worst)],
            robustness_page.worst_table({model: worst}),
            level=3,
        ),
        Section(
            "Against the other model and against shortcuts",
            [results.comparison["test"]["in_words"], tables.probes_in_words(results)],
            tables.contenders_table(results),
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
        f"sensitivity is that of {tables.group_name(low['attribute'], low['group'])}: {said}."
    )
