"""What the figures of `checks` say of a model's heat maps, in plain sentences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pneumonia.explain.checks import JUDGED

# AUC below which a model that sees the border alone is said to need the centre.
HARDLY = 0.7
# By how much less AUC on validation a network has learnt too little to be compared.
WORSE = 0.05
ORDERS = {"other_image": "another image's map", "edges": "the strongest edges", "random": "chance"}
YES, NO, OPEN = "Yes", "No", "Not shown"


@dataclass(frozen=True)
class MapVerdict:
    """A check in plain words.

    Attributes:
        check: what is asked.
        answer: Yes, No, or Not shown, where the interval allows both.
        finding: the figures, in a sentence.
    """

    check: str
    answer: str
    finding: str


def verdicts(figures: dict[str, Any], max_rank: float) -> list[MapVerdict]:
    """The checks of one model's figures.

    Args:
        figures: from `checks.check`.
        max_rank: the param `max_rank_correlation`.
    """
    found = [
        MapVerdict(
            "Do the maps depend on what the network learnt?",
            YES if figures["randomised_rank"] <= max_rank else NO,
            "With weights in random order they correlate on average at most "
            f"{figures['randomised_rank']:.2f} with what they were, whatever the step (allowed: "
            f"{max_rank:.2f}; maps of different images: {figures['pair_rank']:.2f}).",
        ),
        _road(figures),
        MapVerdict(
            "Do they stay off the border?",
            _sign(figures, "border"),
            f"{_percent(figures['border_energy'])} of the map lies in the outer tenth, which is "
            f"{_percent(figures['border_area'])} of the image; difference "
            f"{_interval(figures, 'border')}. {_percent(figures['empty'])} of the maps are empty.",
        ),
        _centre(figures),
        _second_seed(figures),
        MapVerdict(
            "Are the maps of both models more alike than those of different images?",
            _sign(figures, "other_model"),
            f"They correlate {figures['other_model_rank']:.2f} on the same image and "
            f"{figures['other_model_pair_rank']:.2f} on different ones; difference "
            f"{_interval(figures, 'other_model')}.",
        ),
    ]
    if "energy_inside" in figures:
        times = figures["energy_inside"] / figures["mask_area"]
        found.append(
            MapVerdict(
                "Do they mark the opacity, where it is known?",
                _sign(figures, "opacity"),
                f"{_percent(figures['energy_inside'])} of the map lies inside, {times:.1f} times "
                f"the opacity's share of the image, and {_percent(figures['other_energy_inside'])} "
                f"of another image's map; difference {_interval(figures, 'opacity')}. The hottest "
                f"point does on {_percent(figures['pointing_game'])} of the images, that of another "
                f"image's map on {_percent(figures['other_pointing_game'])}.",
            )
        )
    return found


def _road(figures: dict[str, Any]) -> MapVerdict:
    share = f"{100 * JUDGED:.0f}"
    falls = {order: by_share[share] for order, by_share in figures["road"].items()}
    others = ", ".join(f"{falls[order]:.2f} ({name})" for order, name in ORDERS.items())
    rival = max(ORDERS, key=falls.__getitem__)
    return MapVerdict(
        f"Does the logit rest on the hottest {share} % of the image?",
        _sign(figures, "road"),
        f"Without it the logit falls by {falls['map']:.2f}; without as much of the image by other "
        f"choices by {others}. Difference to {ORDERS[rival]}: {_interval(figures, 'road')}.",
    )


def _centre(figures: dict[str, Any]) -> MapVerdict:
    auc, low, high = (figures[f"auc_centre_black{end}"] for end in ("", "_low", "_high"))
    answer = YES if high < HARDLY else NO if low >= HARDLY else OPEN
    return MapVerdict(
        "Does the model need the centre of the image?",
        answer,
        f"With the centre black its AUC is {auc:.2f} ({low:.2f} to {high:.2f}; asked: below "
        f"{HARDLY:.2f}). Such an image is foreign to it, so that it may only have lost its way.",
    )


def _second_seed(figures: dict[str, Any]) -> MapVerdict:
    first, second = figures["val_auc"], figures["second_seed_val_auc"]
    return MapVerdict(
        "Does another seed look at the same places?",
        OPEN if second < first - WORSE else _sign(figures, "second_seed"),
        f"Maps of two trainings correlate {figures['second_seed_rank']:.2f} on the same image and "
        f"{figures['second_seed_pair_rank']:.2f} on different ones; difference "
        f"{_interval(figures, 'second_seed')}. AUC on validation: {first:.3f} and {second:.3f}.",
    )


def _sign(figures: dict[str, Any], name: str) -> str:
    if figures[f"{name}_gain_low"] > 0:
        return YES
    return NO if figures[f"{name}_gain_high"] < 0 else OPEN


def _interval(figures: dict[str, Any], name: str) -> str:
    value, low, high = (figures[f"{name}_gain{end}"] for end in ("", "_low", "_high"))
    return f"{value:+.2f} ({low:+.2f} to {high:+.2f})"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
