"""The tables of `evaluate`'s page and model card, and the words around them.

What the page of `evaluate` says about shifts.
"""

from __future__ import annotations

from typing import Any

from pneumonia.core.config import THRESHOLD_RULE
from pneumonia.evaluation.robustness import METRICS, NOT_IN_MEAN
from pneumonia.evaluation.shifts import SHIFTS, STRENGTHS
from pneumonia.evaluation.subgroups import TERCILES
from pneumonia.reports.evaluation_figures import ROBUSTNESS_TITLES, WORST_SHOWN
from pneumonia.reports.page import ReportFigure, Section, Table
from pneumonia.reports.results import NAMES, Results, with_interval
from pneumonia.stats.metrics import CALIBRATION, PREVALENCES

ATTRIBUTES = {
    "subtype": "subtype",
    "mode": "source file",
    "size": "size",
    "aspect": "aspect",
    "near_duplicate": "near duplicate",
}
SPLITS = {"test": "test", "val": "validation"}
INTERVALS = "In brackets: 95 % intervals."


def metrics_table(results: Results, split: str) -> Table:
    """All metrics with intervals, a column a model."""
    rows = [
        [name, *(results.text(model, split, metric) for model in results.models)]
        for metric, name in NAMES.items()
    ]
    return Table(["metric", *results.models], rows, f"{counted(results, split)}. {INTERVALS}")


def predictive_values(results: Results, models: list[str]) -> Table:
    """Predictive values at the prevalence of test and at `metrics.PREVALENCES`."""
    rows = [
        [f"{100 * _prevalence(results):.1f} % (these images)", model]
        + [results.text(model, "test", metric) for metric in ("ppv", "npv")]
        for model in models
    ]
    rows += [
        [f"{share} %", model]
        + [results.text(model, "test", f"{metric}_at_{share}") for metric in ("ppv", "npv")]
        for share in reversed(PREVALENCES)
        for model in models
    ]
    columns = ["prevalence", "model", "positive predictive value", "negative predictive value"]
    return Table(columns, rows, f"Test images. {INTERVALS}")


def contenders_table(results: Results) -> Table:
    """Models and shortcut probes by AUC on test."""
    rows = [
        [row["name"], row["kind"], with_interval(row["auc"], row["low"], row["high"])]
        for row in results.contenders.to_dict("records")
    ]
    return Table(["name", "kind", "AUC"], rows, f"Test images, the best first. {INTERVALS}")


def probes_in_words(results: Results) -> str:
    """What the best shortcut probe says about the models."""
    table = results.contenders
    probes = table[table["kind"] == "probe"]
    if probes.empty:
        return "No shortcut probe was run."
    best = probes.iloc[0]
    near = [
        model
        for model in results.models
        if results.interval(model, "test", "auc")[1] <= best["auc"]
    ]
    said = (
        f"The best shortcut probe, {best['name']}, sees nothing that a diagnosis should rest on "
        f"and reaches an AUC of {with_interval(best['auc'], best['low'], best['high'])}."
    )
    if near:
        return f"{said} That is not below the interval of {' and '.join(near)}."
    return f"{said} That is below the interval of every model."


def comparison_table(results: Results) -> Table:
    """AUCs and decisions of the two models on the same images."""
    found = results.comparison
    first, second = found["test"]["first"], found["test"]["second"]

    def row(name: str, write: Any) -> list[str]:
        return [name, *(write(found[split]) for split in SPLITS)]

    rows = [
        row("images (patients)", lambda one: f"{one['images']:,} ({one['patients']:,})"),
        row(f"AUC, {second} - {first}, by DeLong", lambda one: _difference(one["auc"], "")),
        row("the same, by paired bootstrap", lambda one: _difference(one["auc"], "bootstrap_")),
        row("p of no difference in AUC", lambda one: p_text(one["auc"]["p"])),
        row("both decide rightly", lambda one: f"{one['decisions']['both']:,}"),
        row(f"{first} alone", lambda one: f"{one['decisions']['first_only']:,}"),
        row(f"{second} alone", lambda one: f"{one['decisions']['second_only']:,}"),
        row("neither", lambda one: f"{one['decisions']['neither']:,}"),
        row(
            "p of equal decisions, by patient", lambda one: p_text(one["decisions"]["clustered_p"])
        ),
        row("the same by image (McNemar)", lambda one: p_text(one["decisions"]["mcnemar_p"])),
    ]
    return Table(
        ["", *SPLITS.values()], rows, f"Paired by image, clustered on patients. {INTERVALS}"
    )


def operating_points(results: Results) -> Table:
    """Threshold and calibration by model."""
    rows = [
        [
            model, f"{point['threshold']:.3f}", f"{point['slope']:.3f}",
            f"{point['intercept']:z.3f}",
        ]
        for model, point in results.points.items()
    ]  # fmt: skip
    return Table(["model", "threshold", "slope", "intercept"], rows)


def calibration_table(results: Results, models: list[str]) -> Table:
    """Calibration figures of the test images before and after calibration."""
    rows = [
        [
            NAMES[metric], model, f"{results.uncalibrated[model]['test'][metric]:z.3f}",
            results.text(model, "test", metric),
        ]
        for metric in CALIBRATION
        for model in models
    ]  # fmt: skip
    return Table(["figure", "model", "before", "after"], rows, f"Test images. {INTERVALS}")


def subgroups_table(results: Results, models: list[str], split: str = "test") -> Table:
    """Figures by subtype of pneumonia and by tercile of size."""
    table = results.subgroups[results.subgroups["split"] == split]
    metrics = ("auc", "sensitivity", "specificity", "brier")
    rows = [
        [group_name(str(row["attribute"]), str(row["group"])), model,
         f"{row['images']:,} ({row['pneumonia']:,})"]
        + [with_interval(row[metric], row[f"{metric}_low"], row[f"{metric}_high"])
           for metric in metrics]
        for _, group in table.groupby(["attribute", "group"], sort=False)
        for model in models
        for _, row in group[group["model"] == model].iterrows()
    ]  # fmt: skip
    columns = ["group", "model", "images (ill)", *(NAMES[metric] for metric in metrics)]
    return Table(columns, rows, f"{SPLITS[split].capitalize()} images. {INTERVALS}")


def errors_table(results: Results, models: list[str]) -> Table:
    """Error rates by attribute of the image, a column a model."""
    found = {
        (str(row["attribute"]), str(row["group"]), row["model"]): row
        for row in results.errors.to_dict("records")
    }

    def order(key: tuple[str, str]) -> tuple[int, int, str]:
        attribute, group = key
        tercile = TERCILES.index(group) if group in TERCILES else 0
        return list(ATTRIBUTES).index(attribute), tercile, group

    rows = []
    for attribute, group in sorted({key[:2] for key in found}, key=order):
        of = [found[attribute, group, model] for model in models]
        cells = [
            f"{with_interval(row['rate'], row['low'], row['high'])}; "
            f"{row['missed']:,}\N{NO-BREAK SPACE}+\N{NO-BREAK SPACE}{row['false_alarms']:,}"
            for row in of
        ]
        rows.append([group_name(attribute, group), f"{of[0]['images']:,}", *cells])
    caption = (
        f"Test images: share decided wrongly; missed + false alarms. {INTERVALS} Size and aspect "
        "by terciles of the train images; near duplicates are those that the audit lists."
    )
    return Table(["images", "number", *models], rows, caption)


def group_name(attribute: str, group: str) -> str:
    """A subgroup as text, "size: low"."""
    return f"{ATTRIBUTES[attribute]}: {group}"


def counted(results: Results, split: str) -> str:
    """What a split holds, "131 test images of 90 patients, 67 with pneumonia"."""
    rows = results.manifest[results.manifest["split"] == split]
    return (
        f"{len(rows):,} {SPLITS.get(split, split)} images of {rows['patient_id'].nunique():,} "
        f"patients, {int(rows['label'].sum()):,} with pneumonia"
    )


def rule_in_words(rule: str) -> str:
    """A rule of `evaluate.threshold`: what its threshold has."""
    asked = THRESHOLD_RULE.fullmatch(rule)
    if asked and asked["sensitivity"]:
        return f"the highest specificity with a sensitivity of at least {asked['sensitivity']}"
    if asked and asked["missed"]:
        return (
            f"the least cost, where a missed pneumonia costs {asked['missed']} and a false alarm "
            f"{asked['alarm']}"
        )
    return "the highest sensitivity + specificity (Youden)"


def method_in_words(method: str) -> str:
    """A method of `evaluate.calibration`: how probabilities come from logits."""
    return {
        "platt": "slope and intercept of the logit (Platt scaling)",
        "temperature": "one slope of the logit (temperature scaling)",
        "none": "none: the plain sigmoid of the logit",
    }[method]


def p_text(value: float) -> str:
    """A p value, "0.012"."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def probability_text(value: float) -> str:
    """A probability, which is never written as 0 or 1 unless it is."""
    if 0 < value < 0.0005:
        return "< 0.001"
    return "> 0.999" if 0.9995 <= value < 1 else f"{value:.3f}"


def _difference(found: dict[str, float], kind: str) -> str:
    return with_interval(found["difference"], found[f"{kind}low"], found[f"{kind}high"])


def _prevalence(results: Results) -> float:
    manifest = results.manifest
    return float(manifest.loc[manifest["split"] == "test", "label"].mean())


def robustness_in_words(model: str, found: dict[str, Any]) -> str:
    """What the worst medium shifts cost a model, from `robustness.summary`, as a sentence."""
    plain, worst = found["unshifted"], found["worst"]["medium"]
    costs = [_cost(metric, plain[metric], worst) for metric in METRICS]
    return (
        f"{model}, between two ordinary hospitals (medium), in the worst of the shifts: "
        f"{costs[0]}, {costs[1]} and {costs[2]}."
    )


def _cost(metric: str, plain: float, worst: dict[str, Any]) -> str:
    before, after = f"{plain:.3f}", f"{worst[metric]:.3f}"
    if before == after:
        return f"{ROBUSTNESS_TITLES[metric]} stays at {after}"
    return f"{ROBUSTNESS_TITLES[metric]} goes from {before} to {after} ({worst[f'{metric}_shift']})"


def worst_table(summaries: dict[str, dict[str, Any]]) -> Table:
    """The lowest figures by model and strength, each with the shift it occurs under."""
    rows = [
        [model, strength]
        + [
            f"{worst[metric]:.3f} ({worst[f'{metric}_change']:+z.3f}, {worst[f'{metric}_shift']})"
            for metric in METRICS
        ]
        for model, found in summaries.items()
        for strength, worst in found["worst"].items()
    ]
    return Table(
        ["model", "strength", *(f"lowest {ROBUSTNESS_TITLES[metric]}" for metric in METRICS)], rows
    )


def mean_table(validation: dict[str, dict[str, Any]], test: dict[str, dict[str, Any]]) -> Table:
    """Figures over all shifts but inversion, by split and model."""
    rows = [
        [split, model, f"{found['images']:,}"]
        + [f"{found['mean'][metric]:.3f}" for metric in METRICS]
        for split, summaries in (("validation", validation), ("test", test))
        for model, found in summaries.items()
    ]
    return Table(
        ["split", "model", "images", *(f"mean {ROBUSTNESS_TITLES[metric]}" for metric in METRICS)],
        rows,
    )


def suite_table() -> Table:
    """The shifts with their amounts, and why those."""
    rows = [
        [name, *(f"{spec.amounts[at]:g}" if at in spec.amounts else "" for at in STRENGTHS),
         spec.unit, spec.why]
        for name, spec in SHIFTS.items()
    ]  # fmt: skip
    return Table(["shift", *STRENGTHS, "unit", "why"], rows)


def robustness_sections(
    picture: ReportFigure, validation: dict[str, dict[str, Any]], test: dict[str, dict[str, Any]]
) -> list[Section]:
    """The sections on robustness.

    Args:
        picture: the heat table, of the test images.
        validation: of each model, from `robustness.summary`.
        test: the same of the test images.
    """
    images = next(iter(test.values()))["images"]
    how = (
        f"{images:,} test images, each changed as another machine, hospital or file would change it, "
        "at the unchanged threshold. Mild: what a technician would not notice; medium: an ordinary "
        "difference between hospitals; strong: the limits of the readable."
    )
    choice = (
        f"Means over all shifts and strengths but {NOT_IN_MEAN}, which is for the reader of the "
        "file to put right. The mean validation AUC chooses between the models: on unshifted images "
        "of one hospital good models can hardly be told apart."
    )
    return [
        Section(
            "Under shift",
            [how, *(robustness_in_words(model, found) for model, found in test.items())],
            worst_table(test),
            [picture],
        ),
        Section("Means under shift", [choice], mean_table(validation, test), level=3),
        Section("The shifts", table=suite_table(), level=3),
    ]


def caption() -> str:
    """What the heat table's colours mean."""
    return (
        f"The darker, the more is lost against the unshifted images; {WORST_SHOWN:g} and more have "
        "the darkest blue. Gains are white."
    )
