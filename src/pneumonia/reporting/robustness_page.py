"""What the page of `evaluate` says about shifts."""

from __future__ import annotations

from typing import Any

from pneumonia.evaluation.robustness import METRICS, NOT_IN_MEAN
from pneumonia.evaluation.shifts import SHIFTS, STRENGTHS
from pneumonia.reporting.page import Figure, Section, Table
from pneumonia.reporting.robustness_figures import TITLES, WORST_SHOWN


def in_words(model: str, found: dict[str, Any]) -> str:
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
        return f"{TITLES[metric]} stays at {after}"
    return f"{TITLES[metric]} goes from {before} to {after} ({worst[f'{metric}_shift']})"


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
    return Table(["model", "strength", *(f"lowest {TITLES[metric]}" for metric in METRICS)], rows)


def mean_table(validation: dict[str, dict[str, Any]], test: dict[str, dict[str, Any]]) -> Table:
    """Figures over all shifts but inversion, by split and model."""
    rows = [
        [split, model, f"{found['images']:,}"]
        + [f"{found['mean'][metric]:.3f}" for metric in METRICS]
        for split, summaries in (("validation", validation), ("test", test))
        for model, found in summaries.items()
    ]
    return Table(
        ["split", "model", "images", *(f"mean {TITLES[metric]}" for metric in METRICS)], rows
    )


def suite_table() -> Table:
    """The shifts with their amounts, and why those."""
    rows = [
        [name, *(f"{spec.amounts[at]:g}" if at in spec.amounts else "" for at in STRENGTHS),
         spec.unit, spec.why]
        for name, spec in SHIFTS.items()
    ]  # fmt: skip
    return Table(["shift", *STRENGTHS, "unit", "why"], rows)


def sections(
    picture: Figure, validation: dict[str, dict[str, Any]], test: dict[str, dict[str, Any]]
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
            [how, *(in_words(model, found) for model, found in test.items())],
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
