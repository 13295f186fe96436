"""Tables of the evaluation page and the model card, and the sentences around them."""

from __future__ import annotations

from typing import Any

from pneumonia.core.config import THRESHOLD_RULE
from pneumonia.evaluation.robustness import METRICS
from pneumonia.evaluation.shifts import SHIFTS, STRENGTHS
from pneumonia.evaluation.subgroups import TERCILES
from pneumonia.reports.page import Table
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
    """All metrics with intervals, one column per model."""
    rows = [
        [name, *(results.text(model, split, metric) for model in results.models)]
        for metric, name in NAMES.items()
    ]
    return Table(["metric", *results.models], rows, f"{counted(results, split)}. {INTERVALS}")


def predictive_values(results: Results, models: list[str]) -> Table:
    """Predictive values at the prevalence of test and at `metrics.PREVALENCES`."""
    prevalence = results.manifest.loc[results.manifest["split"] == "test", "label"].mean()
    shares = [(f"{100 * prevalence:.1f} % (these images)", "")]
    shares += [(f"{share} %", f"_at_{share}") for share in reversed(PREVALENCES)]
    rows = [
        [name, model, *(results.text(model, "test", metric + end) for metric in ("ppv", "npv"))]
        for name, end in shares
        for model in models
    ]
    columns = ["prevalence", "model", NAMES["ppv"], NAMES["npv"]]
    return Table(columns, rows, f"Test images. {INTERVALS}")


def contenders_table(results: Results) -> Table:
    """Models and shortcut probes by AUC on test."""
    rows = [
        [row["name"], row["kind"], with_interval(row["auc"], row["low"], row["high"])]
        for row in results.contenders.to_dict("records")
    ]
    return Table(["name", "kind", "AUC"], rows, f"Test images, the best first. {INTERVALS}")


def probes_in_words(results: Results) -> str:
    """How the best shortcut probe compares with the models."""
    table = results.contenders
    probes = table[table["kind"] == "probe"]
    if probes.empty:
        return "No shortcut probe was run."
    best = probes.iloc[0]
    reached = [
        model
        for model in results.models
        if results.interval(model, "test", "auc")[1] <= best["auc"]
    ]
    text = (
        f"The best shortcut probe, {best['name']}, uses nothing that a diagnosis should be based "
        f"on. Its AUC is {with_interval(best['auc'], best['low'], best['high'])}."
    )
    if reached:
        return f"{text} That is not below the interval of {' and '.join(reached)}."
    return f"{text} That is below the interval of every model."


def comparison_table(results: Results) -> Table:
    """AUCs and decisions of the two models on the same images."""
    comparison = results.comparison
    first, second = comparison["test"]["first"], comparison["test"]["second"]

    def row(name: str, text: Any) -> list[str]:
        return [name, *(text(comparison[split]) for split in SPLITS)]

    def count(name: str) -> Any:
        return lambda split: f"{split['decisions'][name]:,}"

    difference = f"AUC, {second} - {first}"
    rows = [
        row("images (patients)", lambda split: f"{split['images']:,} ({split['patients']:,})"),
        row(f"{difference}, by DeLong", lambda split: _difference(split["auc"], "")),
        row(f"{difference}, by bootstrap", lambda split: _difference(split["auc"], "bootstrap_")),
        row("p value, AUC", lambda split: p_text(split["auc"]["p"])),
        row("both right", count("both")),
        row(f"only {first} right", count("first_only")),
        row(f"only {second} right", count("second_only")),
        row("neither right", count("neither")),
        row(
            "p value, decisions, by patient",
            lambda split: p_text(split["decisions"]["clustered_p"]),
        ),
        row(
            "p value, decisions, by image (McNemar)",
            lambda split: p_text(split["decisions"]["mcnemar_p"]),
        ),
    ]
    return Table(
        ["", *SPLITS.values()], rows, f"Paired by image, clustered by patient. {INTERVALS}"
    )


def operating_points(results: Results) -> Table:
    """Threshold and calibration by model."""
    rows = [
        [model, f"{point.threshold:.3f}", f"{point.slope:.3f}", f"{point.intercept:z.3f}"]
        for model, point in results.points.items()
    ]
    return Table(["model", "threshold", "slope", "intercept"], rows)


def calibration_table(results: Results, models: list[str]) -> Table:
    """Calibration metrics of the test images before and after calibration."""
    rows = [
        [
            NAMES[metric], model, f"{results.uncalibrated[model]['test'][metric]:z.3f}",
            results.text(model, "test", metric),
        ]
        for metric in CALIBRATION
        for model in models
    ]  # fmt: skip
    return Table(["metric", "model", "before", "after"], rows, f"Test images. {INTERVALS}")


def subgroups_table(results: Results, models: list[str]) -> Table:
    """Metrics of the test images by subtype of pneumonia and by tercile of size."""
    table = results.subgroups[results.subgroups["split"] == "test"]
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
    columns = ["group", "model", "images (pneumonia)", *(NAMES[metric] for metric in metrics)]
    return Table(columns, rows, f"Test images. {INTERVALS}")


def errors_table(results: Results, models: list[str]) -> Table:
    """Error rates by attribute of the image, one column per model."""
    errors = {
        (str(row["attribute"]), str(row["group"]), row["model"]): row
        for row in results.errors.to_dict("records")
    }

    def order(key: tuple[str, str]) -> tuple[int, int, str]:
        attribute, group = key
        tercile = TERCILES.index(group) if group in TERCILES else 0
        return list(ATTRIBUTES).index(attribute), tercile, group

    rows = []
    for attribute, group in sorted({key[:2] for key in errors}, key=order):
        of_models = [errors[attribute, group, model] for model in models]
        cells = [
            f"{with_interval(row['rate'], row['low'], row['high'])}; "
            f"{row['missed']:,}\N{NO-BREAK SPACE}+\N{NO-BREAK SPACE}{row['false_alarms']:,}"
            for row in of_models
        ]
        rows.append([group_name(attribute, group), f"{of_models[0]['images']:,}", *cells])
    caption = (
        f"Test images: error rate; missed + false alarms. {INTERVALS} Terciles of size and aspect "
        "are those of the training images. Near duplicates are those that the audit lists."
    )
    return Table(["group", "images", *models], rows, caption)


def group_name(attribute: str, group: str) -> str:
    """A subgroup as text, "size: low"."""
    return f"{ATTRIBUTES[attribute]}: {group}"


def counted(results: Results, split: str) -> str:
    """The size of a split, "131 test images of 90 patients, 67 with pneumonia"."""
    rows = results.manifest[results.manifest["split"] == split]
    return (
        f"{len(rows):,} {SPLITS.get(split, split)} images of {rows['patient_id'].nunique():,} "
        f"patients, {int(rows['label'].sum()):,} with pneumonia"
    )


def rule_in_words(rule: str) -> str:
    """What a rule of `evaluate.threshold` optimises."""
    match = THRESHOLD_RULE.fullmatch(rule)
    if match and match["sensitivity"]:
        return f"the highest specificity with a sensitivity of at least {match['sensitivity']}"
    if match and match["missed"]:
        return (
            f"the lowest cost, where a missed pneumonia costs {match['missed']} and a false alarm "
            f"{match['alarm']}"
        )
    return "the highest sensitivity + specificity (Youden)"


def method_in_words(method: str) -> str:
    """How a method of `evaluate.calibration` makes probabilities from logits."""
    return {
        "platt": "slope and intercept of the logit (Platt scaling)",
        "temperature": "slope of the logit (temperature scaling)",
        "none": "none, only the sigmoid of the logit",
    }[method]


def p_text(value: float) -> str:
    """A p value as text, "0.012"."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def probability_text(value: float) -> str:
    """A probability as text; one that only rounds to 0 or 1 is not written as 0 or 1."""
    if 0 < value < 0.0005:
        return "< 0.001"
    return "> 0.999" if 0.9995 <= value < 1 else f"{value:.3f}"


def _difference(auc: dict[str, float], kind: str) -> str:
    return with_interval(auc["difference"], auc[f"{kind}low"], auc[f"{kind}high"])


def robustness_in_words(model: str, summary: dict[str, Any]) -> str:
    """The losses under the worst medium shifts as a sentence, from `robustness.summary`."""
    worst = summary["worst"]["medium"]
    changes = []
    for metric in METRICS:
        before, after = f"{summary['unshifted'][metric]:.3f}", f"{worst[metric]:.3f}"
        if before == after:
            changes.append(f"{NAMES[metric]} stays at {after}")
        else:
            shift = worst[f"{metric}_shift"]
            changes.append(f"{NAMES[metric]} changes from {before} to {after} ({shift})")
    return (
        f"{model}, under the worst of the medium shifts: {changes[0]}, {changes[1]} and "
        f"{changes[2]}."
    )


def worst_table(summaries: dict[str, dict[str, Any]]) -> Table:
    """The lowest values by model and strength, each with its shift."""
    rows = [
        [model, strength]
        + [
            f"{worst[metric]:.3f} ({worst[f'{metric}_change']:+z.3f}, {worst[f'{metric}_shift']})"
            for metric in METRICS
        ]
        for model, summary in summaries.items()
        for strength, worst in summary["worst"].items()
    ]
    return Table(["model", "strength", *(f"lowest {NAMES[metric]}" for metric in METRICS)], rows)


def mean_table(validation: dict[str, dict[str, Any]], test: dict[str, dict[str, Any]]) -> Table:
    """Means over all shifts but inversion, by split and model."""
    rows = [
        [split, model, f"{summary['images']:,}"]
        + [f"{summary['mean'][metric]:.3f}" for metric in METRICS]
        for split, summaries in (("validation", validation), ("test", test))
        for model, summary in summaries.items()
    ]
    columns = ["split", "model", "images", *(f"mean {NAMES[metric]}" for metric in METRICS)]
    return Table(columns, rows)


def suite_table() -> Table:
    """The shifts with their amounts and reasons."""
    rows = [
        [name, *(f"{shift.amounts[strength]:g}" if strength in shift.amounts else ""
                 for strength in STRENGTHS), shift.unit, shift.why]
        for name, shift in SHIFTS.items()
    ]  # fmt: skip
    return Table(["shift", *STRENGTHS, "unit", "reason"], rows)
