"""Tables of the evaluation page and the model card, and the sentences around them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pneumonia.core.config import THRESHOLD_RULE
from pneumonia.evaluation.robustness import METRICS
from pneumonia.evaluation.shifts import SHIFTS, STRENGTHS
from pneumonia.evaluation.subgroups import TERCILES
from pneumonia.reports.page import Table
from pneumonia.reports.results import NAMES, Results, with_interval
from pneumonia.stats.metrics import CALIBRATION, PREVALENCES

ATTRIBUTES = {"subtype": "subtype", "mode": "source file", "size": "size", "aspect": "aspect",
              "near_duplicate": "near duplicate"}  # fmt: skip
SPLITS = {"test": "test", "val": "validation"}
# Each method of `evaluate.calibration` in words: how it turns logits into probabilities.
METHODS = {
    "platt": "slope and intercept of the logit (Platt scaling)",
    "temperature": "slope of the logit (temperature scaling)",
    "none": "none, only the sigmoid of the logit",
}
INTERVALS = "In brackets: 95 % intervals."


def metrics_table(results: Results, split: str) -> Table:
    """All metrics with intervals, one column per model."""
    rows = [
        [name, *(results.text(model, split, metric) for model in results.models)]
        for metric, name in NAMES.items()
    ]
    return Table(["metric", *results.models], rows, f"{counted(results, split)}. {INTERVALS}")


def predictive_values(results: Results, models: list[str]) -> Table:
    """Predictive values at the prevalence in the test images and at `metrics.PREVALENCES`."""
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
    """Models and shortcut probes with their AUC on the test images."""
    rows = [
        [row["name"], row["kind"], with_interval(row["auc"], row["low"], row["high"])]
        for row in results.contenders.to_dict("records")
    ]
    return Table(["name", "kind", "AUC"], rows, f"Test images, the best first. {INTERVALS}")


def probes_in_words(results: Results) -> str:
    """A text that compares the best shortcut probe with the models."""
    table = results.contenders
    probes = table[table["kind"] == "probe"]
    if probes.empty:
        return "No shortcut probe was run."
    best = probes.iloc[0]
    lows = {model: results.interval(model, "test", "auc")[1] for model in results.models}
    reached = " and ".join(model for model, low in lows.items() if low <= best["auc"])
    return (
        f"The best shortcut probe, {best['name']}, uses nothing that a diagnosis should be based "
        f"on. Its AUC is {with_interval(best['auc'], best['low'], best['high'])}. That is "
        f"{'not ' if reached else ''}below the interval of {reached or 'every model'}."
    )


def comparison_table(results: Results) -> Table:
    """AUCs and decisions of the two models on the same images."""
    splits = [results.comparison[split] for split in SPLITS]
    first, second = splits[0]["first"], splits[0]["second"]

    def decisions(name: str, form: Callable[[Any], str] = "{:,}".format) -> list[str]:
        return [form(split["decisions"][name]) for split in splits]

    def difference(kind: str) -> list[str]:
        ends = ("difference", f"{kind}low", f"{kind}high")
        return [with_interval(*(split["auc"][end] for end in ends)) for split in splits]

    rows = {
        "images (patients)": [f"{split['images']:,} ({split['patients']:,})" for split in splits],
        f"AUC, {second} - {first}, by DeLong": difference(""),
        f"AUC, {second} - {first}, by bootstrap": difference("bootstrap_"),
        "p value, AUC": [p_text(split["auc"]["p"]) for split in splits],
        "both right": decisions("both"),
        f"only {first} right": decisions("first_only"),
        f"only {second} right": decisions("second_only"),
        "neither right": decisions("neither"),
        "p value, decisions, by patient": decisions("clustered_p", p_text),
        "p value, decisions, by image (McNemar)": decisions("mcnemar_p", p_text),
    }
    caption = f"Paired by image, clustered by patient. {INTERVALS}"
    return Table(["", *SPLITS.values()], [[name, *cells] for name, cells in rows.items()], caption)


def operating_points(results: Results) -> Table:
    """The threshold and the calibration of each model."""
    rows = [
        [model, f"{point.threshold:.3f}", f"{point.slope:.3f}", f"{point.intercept:z.3f}"]
        for model, point in results.points.items()
    ]
    return Table(["model", "threshold", "slope", "intercept"], rows)


def calibration_table(results: Results, models: list[str]) -> Table:
    """Calibration metrics on the test images, before and after calibration."""
    rows = [
        [NAMES[metric], model, f"{results.uncalibrated[model]['test'][metric]:z.3f}",
         results.text(model, "test", metric)]
        for metric in CALIBRATION
        for model in models
    ]  # fmt: skip
    return Table(["metric", "model", "before", "after"], rows, f"Test images. {INTERVALS}")


def subgroups_table(results: Results, models: list[str]) -> Table:
    """Metrics on the test images by subtype of pneumonia and by tercile of size."""
    table = results.subgroups[results.subgroups["split"] == "test"]
    metrics = ("auc", "sensitivity", "specificity", "brier")
    rows = [
        [group_name(str(row["attribute"]), str(row["group"])), model,
         f"{row['images']:,} ({row['pneumonia']:,})",
         *(with_interval(row[metric], row[f"{metric}_low"], row[f"{metric}_high"])
           for metric in metrics)]
        for _, group in table.groupby(["attribute", "group"], sort=False)
        for model in models
        for row in group[group["model"] == model].to_dict("records")
    ]  # fmt: skip
    columns = ["group", "model", "images (pneumonia)", *(NAMES[metric] for metric in metrics)]
    return Table(columns, rows, f"Test images. {INTERVALS}")


def errors_table(results: Results) -> Table:
    """Error rates on the test images by attribute of the image, one column per model."""
    groups = {
        (str(attribute), str(group)): rows.set_index("model").loc[results.models]
        for (attribute, group), rows in results.errors.groupby(["attribute", "group"])
    }

    def order(key: tuple[str, str]) -> tuple[int, int, str]:
        attribute, group = key
        tercile = TERCILES.index(group) if group in TERCILES else 0
        return list(ATTRIBUTES).index(attribute), tercile, group

    rows = []
    for key in sorted(groups, key=order):
        cells = [
            f"{with_interval(row['rate'], row['low'], row['high'])}; "
            f"{row['missed']:,}\N{NO-BREAK SPACE}+\N{NO-BREAK SPACE}{row['false_alarms']:,}"
            for row in groups[key].to_dict("records")
        ]
        rows.append([group_name(*key), f"{groups[key]['images'].iloc[0]:,}", *cells])
    caption = (
        f"Test images: error rate; missed + false alarms. {INTERVALS} Terciles of size and aspect "
        "are those of the training images. Near duplicates are those that the audit lists."
    )
    return Table(["group", "images", *results.models], rows, caption)


def group_name(attribute: str, group: str) -> str:
    """The name of a subgroup, for example "size: low"."""
    return f"{ATTRIBUTES[attribute]}: {group}"


def counted(results: Results, split: str) -> str:
    """The size of a split in words: "131 test images of 90 patients, 67 with pneumonia"."""
    rows = results.manifest[results.manifest["split"] == split]
    return (
        f"{len(rows):,} {SPLITS.get(split, split)} images of {rows['patient_id'].nunique():,} "
        f"patients, {int(rows['label'].sum()):,} with pneumonia"
    )


def rule_in_words(rule: str) -> str:
    """The aim of a rule of `evaluate.threshold`, in words."""
    match = THRESHOLD_RULE.fullmatch(rule)
    if match and match["sensitivity"]:
        return f"the highest specificity with a sensitivity of at least {match['sensitivity']}"
    if match and match["missed"]:
        costs = f"{match['missed']} and a false alarm {match['alarm']}"
        return f"the lowest cost, where a missed pneumonia costs {costs}"
    return "the highest sensitivity + specificity (Youden)"


def p_text(value: float) -> str:
    """A p value as text, for example "0.012"."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def probability_text(value: float) -> str:
    """A probability as text. "0.000" means exactly 0, and "1.000" means exactly 1."""
    if 0 < value < 0.0005:
        return "< 0.001"
    return "> 0.999" if 0.9995 <= value < 1 else f"{value:.3f}"


def robustness_in_words(model: str, summary: dict[str, Any]) -> str:
    """A sentence about the losses under the worst medium shifts; `summary` is from `robustness`."""
    worst = summary["worst"]["medium"]
    changes = []
    for metric in METRICS:
        before, after = f"{summary['unshifted'][metric]:.3f}", f"{worst[metric]:.3f}"
        change = f"changes from {before} to {after} ({worst[f'{metric}_shift']})"
        changes.append(f"{NAMES[metric]} {change if before != after else f'stays at {after}'}")
    text = f"{', '.join(changes[:-1])} and {changes[-1]}"
    return f"{model}, under the worst of the medium shifts: {text}."


def worst_table(summaries: dict[str, dict[str, Any]]) -> Table:
    """The lowest value of each metric by model and strength, with the shift that caused it."""
    rows = [
        [model, strength,
         *(f"{worst[metric]:.3f} ({worst[f'{metric}_change']:+z.3f}, {worst[f'{metric}_shift']})"
           for metric in METRICS)]
        for model, summary in summaries.items()
        for strength, worst in summary["worst"].items()
    ]  # fmt: skip
    return Table(["model", "strength", *(f"lowest {NAMES[metric]}" for metric in METRICS)], rows)


def mean_table(validation: dict[str, dict[str, Any]], test: dict[str, dict[str, Any]]) -> Table:
    """The mean of each metric over all shifts except inversion, by split and model."""
    rows = [
        [split, model, f"{summary['images']:,}"]
        + [f"{summary['mean'][metric]:.3f}" for metric in METRICS]
        for split, summaries in (("validation", validation), ("test", test))
        for model, summary in summaries.items()
    ]
    columns = ["split", "model", "images", *(f"mean {NAMES[metric]}" for metric in METRICS)]
    return Table(columns, rows)


def suite_table() -> Table:
    """The table of all shifts with their amounts and reasons."""
    rows = [
        [name, *(f"{shift.amounts[strength]:g}" if strength in shift.amounts else ""
                 for strength in STRENGTHS), shift.unit, shift.why]
        for name, shift in SHIFTS.items()
    ]  # fmt: skip
    return Table(["shift", *STRENGTHS, "unit", "reason"], rows)
