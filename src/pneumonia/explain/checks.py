"""The checks of a model's heat maps, in figures; `verdicts` says what they mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumonia.evaluation.delong import auc_interval
from pneumonia.evaluation.resampling import bootstrap, percentile_interval
from pneumonia.explain import road
from pneumonia.explain.randomisation import cascade, stays_alike
from pneumonia.explain.similarity import rank_correlation
from pneumonia.explain.subject import Subject
from pneumonia.explain.truth import Box, border_frame, score_maps, strangers
from pneumonia.params import GradcamReportParams

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
            order and per cent, `cascade` by layer.
        cascade: of `randomisation.cascade`.
    """

    figures: dict[str, Any]
    cascade: pd.DataFrame


def check(
    subject: Subject, others: NDArray[np.float32], images: MaskedImages, params: GradcamReportParams
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
    return Checked(plain, steps)


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


def _without_centre(subject: Subject, images: MaskedImages) -> dict[str, float]:
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
    subject: Subject,
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
