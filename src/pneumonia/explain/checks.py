"""The checks of a model's heat maps: the figures, and sentences that explain the figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumonia.core.config import GradcamReportParams
from pneumonia.explain import road
from pneumonia.explain.gradcam import ExplainedModel
from pneumonia.explain.localization import Box, border_frame, other_patients, score_maps
from pneumonia.explain.randomisation import cascade, highest_rank, rank_correlation
from pneumonia.stats.bootstrap import bootstrap, percentile_interval
from pneumonia.stats.delong import auc_interval

RESAMPLES = 1000  # number of resamples of patients, for the intervals
SHARE = 0.2  # removed share at which ROAD is judged; about the area of an opacity
# If a model that sees only the border has an AUC below this value, it needs the centre.
NEEDS_CENTRE = 0.7
# If the second training's validation AUC is lower by more than this, the maps are not compared.
WORSE = 0.05
ORDERS = {"other_image": "another image's map", "edges": "the strongest edges", "random": "chance"}
YES, NO, OPEN = "Yes", "No", "Not shown"


@dataclass(frozen=True)
class MaskedImages:
    """The test images that have the checked maps."""

    images: NDArray[np.uint8]  #: uint8, (N, S, S, 1)
    table: pd.DataFrame  #: the rows of these images in the manifest
    masks: list[NDArray[np.bool_] | None]  #: masks of the opacities, bool, (S, S), or None
    boxes: list[Box]  #: rows and columns of the square that each image fills

    def take(self, rows: NDArray[np.int64]) -> MaskedImages:
        """Choose the images in these rows."""
        masks, boxes = [self.masks[row] for row in rows], [self.boxes[row] for row in rows]
        return MaskedImages(self.images[rows], self.table.iloc[rows], masks, boxes)

    @property
    def labels(self) -> NDArray[np.int64]:
        """The labels, 0 or 1, (N,)."""
        return self.table["label"].to_numpy()

    @property
    def patients(self) -> NDArray[np.str_]:
        """The patient ids, (N,)."""
        return self.table["patient_id"].to_numpy(dtype=str)


def check(
    model: ExplainedModel, other_maps: NDArray[np.float32], images: MaskedImages,
    params: GradcamReportParams,
) -> tuple[dict[str, Any], pd.DataFrame]:  # fmt: skip
    """Check a model's maps of the test images; the other model made `other_maps`.

    Returns:
        The figures for metrics.json, and the table of `randomisation.cascade`. A `..._gain` is a
        mean over images; above 0, it is good for the maps. `..._gain_low` and `..._gain_high` are
        its interval by patient. The keys of `road` are order and per cent, the keys of `cascade`
        are layers. `failed` is the text from `failure`.

    Raises:
        InputError: the maps are not finite.
    """
    pneumonia = np.flatnonzero(images.labels == 1)
    figures = _location(model.maps[pneumonia], images.take(pneumonia), params.seed)
    figures |= _without_centre(model, images)
    rows = images_to_check(images.labels, params.check_images, params.seed)
    checked, maps = images.take(rows), model.maps[rows]
    others = other_patients(checked.patients)
    figures |= {"images": len(rows), "patients": len(np.unique(checked.patients))}
    for name, compared in (("second_seed", model.second_maps), ("other_model", other_maps)):
        same = rank_correlation(maps, compared[rows])
        different = rank_correlation(maps, compared[rows][others])
        figures |= {f"{name}_rank": same.mean(), f"{name}_pair_rank": different.mean()}
        figures |= _gain(name, same - different, checked, params.seed)
    figures |= {"val_auc": model.val_auc, "second_seed_val_auc": model.second_val_auc}
    figures |= _road(model, maps, maps[others], checked, params.seed)
    steps = cascade(
        model.model, model.explain, checked.images, others, params.randomisations, params.seed
    )
    figures |= {"randomised_rank": highest_rank(steps), "pair_rank": steps["pair_rank"].iloc[0]}
    plain = {
        name: value if isinstance(value, dict | int) else float(value)
        for name, value in figures.items()
    }
    similarities = steps[["rank", "ssim", "pair_rank", "pair_ssim"]]
    by_layer = similarities.set_index(steps["down_to"].replace("", "trained")).to_dict("index")
    reason = failure(highest_rank(steps), params.max_rank_correlation)
    return {**plain, "cascade": by_layer, "failed": reason}, steps


def failure(randomised_rank: float, max_rank: float) -> str:
    """The reason why the maps fail, so that the model cannot be champion; "" if they pass.

    `randomised_rank` comes from `randomisation.highest_rank`.
    """
    if randomised_rank <= max_rank:  # NaN gives False, so it fails.
        return ""
    return (
        f"with weights in random order the maps still correlate {randomised_rank:.2f} with the "
        f"trained ones, and at most {max_rank:.2f} is allowed"
    )


def images_to_check(labels: NDArray[np.int64], images: int, seed: int) -> NDArray[np.int64]:
    """Choose random rows for the slow checks, first from PNEUMONIA, then NORMAL; sort them."""
    order = np.random.default_rng(seed).permutation(len(labels))
    first = order[np.argsort(-labels[order], kind="stable")]
    return np.sort(first[:images])


def _location(maps: NDArray[np.float32], images: MaskedImages, seed: int) -> dict[str, Any]:
    """The shares of map energy on the border and in the opacities, for PNEUMONIA images."""
    others = maps[other_patients(images.patients)]
    scores = score_maps(maps, others, images.masks, images.boxes, images.images.shape[1])
    figures: dict[str, Any] = dict(scores.mean())
    off_border = (scores["border_area"] - scores["border_energy"]).to_numpy()
    figures |= _gain("border", off_border, images, seed)
    if "energy_inside" in scores:
        known = scores["mask_area"].notna().to_numpy()
        more = (scores["energy_inside"] - scores["other_energy_inside"]).to_numpy()
        figures |= _gain("opacity", more[known], images.take(np.flatnonzero(known)), seed)
    return figures


def _without_centre(model: ExplainedModel, images: MaskedImages) -> dict[str, float]:
    """The AUC, with its interval, on images that are black except for the outer tenth."""
    from sklearn.metrics import roc_auc_score

    borders = np.zeros_like(images.images)
    for row, box in enumerate(images.boxes):
        image = images.images[row, ..., 0][box]
        borders[row, ..., 0][box] = np.where(border_frame(*image.shape), image, 0)
    logits, _ = model.graph.run(borders)
    low, high = auc_interval(images.labels, logits, images.patients)
    auc = float(roc_auc_score(images.labels, logits))
    return {"auc_centre_black": auc, "auc_centre_black_low": low, "auc_centre_black_high": high}


def _road(
    model: ExplainedModel, maps: NDArray[np.float32], other_maps: NDArray[np.float32],
    images: MaskedImages, seed: int,
) -> dict[str, Any]:  # fmt: skip
    """The falls of the logit, and the map's fall minus the fall by the best other order."""
    orders = {
        "map": maps,
        "other_image": other_maps,
        "edges": road.edges(images.images),
        "random": road.random_maps(maps, seed),
    }
    falls = road.falls(lambda batch: model.graph.run(batch)[0], images.images, orders, seed)
    rival = max(list(falls)[1:], key=lambda order: falls[order][SHARE].mean())
    more = falls["map"][SHARE] - falls[rival][SHARE]
    by_share = {
        order: {f"{100 * share:.0f}": float(fall.mean()) for share, fall in shares.items()}
        for order, shares in falls.items()
    }
    return {"road": by_share, **_gain("road", more, images, seed)}


def _gain(
    name: str, values: NDArray[np.float64], images: MaskedImages, seed: int
) -> dict[str, float]:
    """The mean over the images, and its 95 % interval by patient."""

    def mean(counts: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        return {"mean": counts @ values / counts.sum(axis=1)}

    resampled = bootstrap(mean, images.labels, images.patients, RESAMPLES, seed)["mean"]
    low, high = percentile_interval(resampled)
    return {f"{name}_gain": values.mean(), f"{name}_gain_low": low, f"{name}_gain_high": high}


@dataclass(frozen=True)
class MapVerdict:
    """The result of a check in words."""

    check: str  #: the question
    answer: str  #: Yes, No, or Not shown if the interval allows both
    finding: str  #: the figures, in a sentence


def verdicts(figures: dict[str, Any], max_rank: float) -> list[MapVerdict]:
    """Put the results of one model's checks into words.

    Args:
        figures: the figures from `check`.
        max_rank: the param `max_rank_correlation`.
    """
    share = f"{100 * SHARE:.0f}"
    falls = {order: by_share[share] for order, by_share in figures["road"].items()}
    others = ", ".join(f"{falls[order]:.2f} ({name})" for order, name in ORDERS.items())
    rival = max(ORDERS, key=falls.__getitem__)
    auc, low, high = (figures[f"auc_centre_black{end}"] for end in ("", "_low", "_high"))
    first, second = figures["val_auc"], figures["second_seed_val_auc"]
    answers = [
        MapVerdict(
            "Do the maps depend on what the network learnt?",
            NO if failure(figures["randomised_rank"], max_rank) else YES,
            "With weights in random order the mean correlation with the trained maps is at most "
            f"{figures['randomised_rank']:.2f} at any step (allowed: {max_rank:.2f}; maps of "
            f"different images: {figures['pair_rank']:.2f}).",
        ),
        MapVerdict(
            f"Does the logit depend on the hottest {share} % of the image?",
            _sign(figures, "road"),
            f"If this part is removed, the logit falls by {falls['map']:.2f}. If as much is "
            f"removed in another order, it falls by {others}. Difference to {ORDERS[rival]}: "
            f"{_interval(figures, 'road')}.",
        ),
        MapVerdict(
            "Do the maps avoid the border?",
            _sign(figures, "border"),
            f"{_percent(figures['border_energy'])} of the map lies in the outer tenth, which is "
            f"{_percent(figures['border_area'])} of the image; difference "
            f"{_interval(figures, 'border')}. {_percent(figures['empty'])} of the maps are empty.",
        ),
        MapVerdict(
            "Does the model need the centre of the image?",
            YES if high < NEEDS_CENTRE else NO if low >= NEEDS_CENTRE else OPEN,
            f"With a black centre its AUC is {auc:.2f} ({low:.2f} to {high:.2f}; required: below "
            f"{NEEDS_CENTRE:.2f}). Such images are unlike the training images, so a low AUC can "
            "also have other causes.",
        ),
        MapVerdict(
            "Does a training with another seed look at the same places?",
            OPEN if second < first - WORSE else _sign(figures, "second_seed"),
            f"Maps of the two trainings correlate {figures['second_seed_rank']:.2f} on the same "
            f"image and {figures['second_seed_pair_rank']:.2f} on different images; difference "
            f"{_interval(figures, 'second_seed')}. AUC on validation: {first:.3f} and "
            f"{second:.3f}.",
        ),
        MapVerdict(
            "Are both models' maps of one image more similar than maps of different images?",
            _sign(figures, "other_model"),
            f"They correlate {figures['other_model_rank']:.2f} on the same image and "
            f"{figures['other_model_pair_rank']:.2f} on different images; difference "
            f"{_interval(figures, 'other_model')}.",
        ),
    ]
    if "energy_inside" in figures:
        times = figures["energy_inside"] / figures["mask_area"]
        answers.append(
            MapVerdict(
                "Do the maps mark the opacity, where it is known?",
                _sign(figures, "opacity"),
                f"{_percent(figures['energy_inside'])} of the map lies inside the opacity, "
                f"{times:.1f} times the opacity's share of the image. Of another image's map, "
                f"{_percent(figures['other_energy_inside'])} does; difference "
                f"{_interval(figures, 'opacity')}. The hottest point lies inside on "
                f"{_percent(figures['pointing_game'])} of the images, that of another image's map "
                f"on {_percent(figures['other_pointing_game'])}.",
            )
        )
    return answers


def _sign(figures: dict[str, Any], name: str) -> str:
    if figures[f"{name}_gain_low"] > 0:
        return YES
    return NO if figures[f"{name}_gain_high"] < 0 else OPEN


def _interval(figures: dict[str, Any], name: str) -> str:
    value, low, high = (figures[f"{name}_gain{end}"] for end in ("", "_low", "_high"))
    return f"{value:+.2f} ({low:+.2f} to {high:+.2f})"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
