"""The checks of a model's heat maps, in figures; `verdicts` says what they mean.

What the figures of `checks` say of a model's heat maps, in plain sentences.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumonia.core.config import GradcamReportParams
from pneumonia.explain import road
from pneumonia.explain.gradcam import ExplainedModel
from pneumonia.explain.localization import Box, border_frame, score_maps, strangers
from pneumonia.explain.randomisation import cascade, rank_correlation, stays_alike
from pneumonia.stats.bootstrap import bootstrap, percentile_interval
from pneumonia.stats.delong import auc_interval

RESAMPLES = 1000  # of patients behind the intervals
JUDGED = 0.2  # of the shares that ROAD removes, the one that is judged: the nearest to an opacity's


@dataclass(frozen=True)
class MaskedImages:
    """The test images that maps are checked on.

    Attributes:
        images: uint8, (N, S, S, 1).
        table: their rows of the manifest.
        masks: bool, (S, S); None where unknown.
        boxes: rows and columns of the square that each image fills.
    """

    images: NDArray[np.uint8]
    table: pd.DataFrame
    masks: list[NDArray[np.bool_] | None]
    boxes: list[Box]

    def take(self, rows: NDArray[np.int64]) -> MaskedImages:
        """Some of them."""
        masks, boxes = [self.masks[row] for row in rows], [self.boxes[row] for row in rows]
        return MaskedImages(self.images[rows], self.table.iloc[rows], masks, boxes)

    @property
    def labels(self) -> NDArray[np.int64]:
        """0 or 1, (N,)."""
        return self.table["label"].to_numpy()

    @property
    def patients(self) -> NDArray[np.str_]:
        """Who is on them, (N,)."""
        return self.table["patient_id"].to_numpy(dtype=str)


@dataclass(frozen=True)
class Checked:
    """The findings on one model.

    Attributes:
        figures: for metrics.json, by name. A `..._gain` is a mean over images with its interval by
            patient in `..._gain_low` and `..._gain_high`; above 0 speaks for the maps. `road` is by
            order and per cent, `cascade` by layer. `failed` is text, from `failure`.
        cascade: of `randomisation.cascade`.
    """

    figures: dict[str, Any]
    cascade: pd.DataFrame


def check(
    subject: ExplainedModel,
    others: NDArray[np.float32],
    images: MaskedImages,
    params: GradcamReportParams,
) -> Checked:
    """Check a model's maps.

    Args:
        subject: the model.
        others: the other model's maps of the same images.
        images: of test.
        params: the stage's block.

    Raises:
        InputError: maps that hold no numbers.
    """
    ill = np.flatnonzero(images.labels == 1)
    figures = _where(subject.maps[ill], images.take(ill), params.seed)
    figures |= _without_centre(subject, images)
    chosen = images_to_check(images.labels, params.check_images, params.seed)
    some, maps = images.take(chosen), subject.maps[chosen]
    foreign = strangers(some.patients)
    figures |= {"images": len(chosen), "patients": len(np.unique(some.patients))}
    for name, theirs in (("second_seed", subject.second_maps), ("other_model", others)):
        same = rank_correlation(maps, theirs[chosen])
        different = rank_correlation(maps, theirs[chosen][foreign])
        figures |= {f"{name}_rank": same.mean(), f"{name}_pair_rank": different.mean()}
        figures |= _gain(name, same - different, some, params.seed)
    figures |= {"val_auc": subject.val_auc, "second_seed_val_auc": subject.second_val_auc}
    figures |= _road(subject, maps, maps[foreign], some, params.seed)
    draws = params.randomisations
    steps = cascade(subject.model, subject.explain, some.images, foreign, draws, params.seed)
    figures |= {
        "randomised_rank": stays_alike(steps),
        "pair_rank": steps["pair_rank"].iloc[0],
        "cascade": {
            row["down_to"] or "trained": {
                name: float(row[name]) for name in ("rank", "ssim", "pair_rank", "pair_ssim")
            }
            for _, row in steps.iterrows()
        },
    }
    plain = {
        name: value if isinstance(value, dict | int) else float(value)
        for name, value in figures.items()
    }
    reason = failure(plain["randomised_rank"], params.max_rank_correlation)
    return Checked({**plain, "failed": reason}, steps)


def failure(randomised_rank: float, max_rank: float) -> str:
    """Why maps fail the check that keeps a model from being champion; "" if they pass."""
    if randomised_rank <= max_rank:  # false for NaN, which shows nothing either
        return ""
    return (
        f"with weights in random order the maps still correlate {randomised_rank:.2f} with the "
        f"trained ones, and {max_rank:.2f} is allowed"
    )


def images_to_check(labels: NDArray[np.int64], images: int, seed: int) -> NDArray[np.int64]:
    """Rows of the images that the slower checks take, PNEUMONIA first, drawn by the seed, sorted."""
    order = np.random.default_rng(seed).permutation(len(labels))
    first = order[np.argsort(-labels[order], kind="stable")]
    return np.sort(first[:images])


def _where(maps: NDArray[np.float32], images: MaskedImages, seed: int) -> dict[str, Any]:
    """Border and opacities, on the images of PNEUMONIA."""
    others = maps[strangers(images.patients)]
    scored = score_maps(maps, others, images.masks, images.boxes, images.images.shape[1])
    figures: dict[str, Any] = dict(scored.mean())
    on_border = (scored["border_area"] - scored["border_energy"]).to_numpy()
    figures |= _gain("border", on_border, images, seed)
    if "energy_inside" in scored:
        known = scored["mask_area"].notna().to_numpy()
        more = (scored["energy_inside"] - scored["other_energy_inside"]).to_numpy()
        figures |= _gain("opacity", more[known], images.take(np.flatnonzero(known)), seed)
    return figures


def _without_centre(subject: ExplainedModel, images: MaskedImages) -> dict[str, float]:
    """AUC on images of which only the outer tenth is left, with its interval."""
    from sklearn.metrics import roc_auc_score

    left = np.zeros_like(images.images)
    for row, box in enumerate(images.boxes):
        whole = images.images[row, ..., 0][box]
        left[row, ..., 0][box] = np.where(border_frame(*whole.shape), whole, 0)
    logits, _ = subject.graph.run(left)
    low, high = auc_interval(images.labels, logits, images.patients)
    return {
        "auc_centre_black": float(roc_auc_score(images.labels, logits)),
        "auc_centre_black_low": low,
        "auc_centre_black_high": high,
    }


def _road(
    subject: ExplainedModel,
    maps: NDArray[np.float32],
    foreign: NDArray[np.float32],
    images: MaskedImages,
    seed: int,
) -> dict[str, Any]:
    """Falls of the logit, and by how much the map's is more than that of the best other order."""
    orders = {
        "map": maps,
        "other_image": foreign,
        "edges": road.edges(images.images),
        "random": road.random_maps(maps, seed),
    }
    falls = road.falls(lambda some: subject.graph.run(some)[0], images.images, orders, seed)
    rival = max(list(falls)[1:], key=lambda order: falls[order][JUDGED].mean())
    more = falls["map"][JUDGED] - falls[rival][JUDGED]
    by_share = {
        order: {f"{100 * share:.0f}": float(fall.mean()) for share, fall in found.items()}
        for order, found in falls.items()
    }
    return {"road": by_share, **_gain("road", more, images, seed)}


def _gain(
    name: str, values: NDArray[np.float64], images: MaskedImages, seed: int
) -> dict[str, float]:
    """Mean over images, and its 95 % interval by patient."""

    def mean(counts: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        return {"mean": counts @ values / counts.sum(axis=1)}

    drawn = bootstrap(mean, images.labels, images.patients, RESAMPLES, seed)["mean"]
    low, high = percentile_interval(drawn)
    return {f"{name}_gain": values.mean(), f"{name}_gain_low": low, f"{name}_gain_high": high}


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
            NO if failure(figures["randomised_rank"], max_rank) else YES,
            "With weights in random order they correlate on average at most "
            f"{figures['randomised_rank']:.2f} with what they were, whatever the step (allowed: "
            f"{max_rank:.2f}; maps of different images: {figures['pair_rank']:.2f}).",
        ),
        _road_verdict(figures),
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


def _road_verdict(figures: dict[str, Any]) -> MapVerdict:
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
