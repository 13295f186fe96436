"""What a model's heat maps are worth: every check of them, and each in a plain sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from pneumonia.evaluation.delong import auc_interval
from pneumonia.explain import road
from pneumonia.explain.randomisation import cascade, stays_alike
from pneumonia.explain.similarity import other_films, rank_correlation
from pneumonia.explain.subject import Subject
from pneumonia.explain.truth import border_frame, score_maps
from pneumonia.params import GradcamReportParams
from pneumonia.predictor import Graph

CHANCE = 0.6  # AUC up to which a model without the centre of the film is said to guess
REMOVED = "20"  # per cent, the share at which ROAD is judged: about as much as an opacity covers


@dataclass(frozen=True)
class Checked:
    """The findings on one model.

    Attributes:
        figures: for metrics.json, by name; `road` by order and per cent.
        cascade: of `randomisation.cascade`.
    """

    figures: dict[str, Any]
    cascade: pd.DataFrame


def check(
    subject: Subject,
    others: NDArray[np.float32],
    films: NDArray[np.uint8],
    table: pd.DataFrame,
    masks: list[NDArray[np.bool_] | None],
    params: GradcamReportParams,
) -> Checked:
    """Check a model's maps.

    Args:
        subject: the model.
        others: the other model's maps of the same films.
        films: of test, uint8, (N, S, S, 1).
        table: their rows of the manifest.
        masks: of the same films, bool, (S, S), None where unknown.
        params: the stage's block.
    """
    labels = table["label"].to_numpy()
    ill = [row for row, label in enumerate(labels) if label == 1]
    chosen = films_to_check(labels, params.check_films, params.seed)
    figures: dict[str, Any] = score_maps(
        subject.maps[ill], [masks[row] for row in ill], films.shape[1]
    )
    figures |= _needs_the_lungs(subject.graph, films, table)
    maps = subject.maps[chosen]
    for name, theirs in (("second_seed", subject.second_maps), ("other_model", others)):
        figures[f"{name}_rank"] = float(rank_correlation(maps, theirs[chosen]).mean())
        pairs = rank_correlation(maps, other_films(theirs[chosen]))
        figures[f"{name}_pair_rank"] = float(pairs.mean())
    orders = {
        "map": maps,
        "random": road.random_maps(len(chosen), params.seed),
        "edges": road.edges(films[chosen]),
    }
    falls = road.falls(lambda some: subject.graph.run(some)[0], films[chosen], orders, params.seed)
    figures["road"] = {
        order: {f"{100 * share:.0f}": fall for share, fall in by_share.items()}
        for order, by_share in falls.items()
    }
    steps = cascade(
        subject.model, subject.explain, films[chosen], params.randomisations, params.seed
    )
    figures["randomised_rank"] = stays_alike(steps)
    figures["randomised_ssim"] = float(steps.loc[steps["step"] > 0, "ssim"].max())
    figures |= {name: float(steps[name].iloc[0]) for name in ("pair_rank", "pair_ssim")}
    return Checked(figures, steps)


def films_to_check(labels: NDArray[np.int64], films: int, seed: int) -> NDArray[np.int64]:
    """Rows of the films that the slower checks take, PNEUMONIA first, drawn by the seed, sorted."""
    order = np.random.default_rng(seed).permutation(len(labels))
    first = order[np.argsort(-labels[order], kind="stable")]
    return np.sort(first[:films])


def _needs_the_lungs(
    graph: Graph, films: NDArray[np.uint8], table: pd.DataFrame
) -> dict[str, float]:
    """AUC on films of which only the border is left, with its interval."""
    left = np.where(border_frame(films.shape[1])[..., None], films, 0).astype(np.uint8)
    logits, _ = graph.run(left)
    labels = table["label"].to_numpy()
    patients = table["patient_id"].to_numpy(dtype=str)
    low, high = auc_interval(labels, logits, patients)
    return {
        "auc_centre_black": float(roc_auc_score(labels, logits)),
        "auc_centre_black_low": low,
        "auc_centre_black_high": high,
    }


@dataclass(frozen=True)
class Verdict:
    """A check in plain words.

    Attributes:
        check: what is asked.
        holds: whether the answer speaks for the maps.
        finding: the figures, in a sentence.
    """

    check: str
    holds: bool
    finding: str


def verdicts(figures: dict[str, Any], max_rank: float) -> list[Verdict]:
    """The checks of one model's figures.

    Args:
        figures: from `check`.
        max_rank: the param `max_rank_correlation`.
    """
    fall = {order: by_share[REMOVED] for order, by_share in figures["road"].items()}
    found = [
        Verdict(
            "Do the maps depend on what the network learnt?",
            figures["randomised_rank"] <= max_rank,
            f"With weights in random order they correlate at most {figures['randomised_rank']:.2f} "
            f"with what they were (allowed: {max_rank:.2f}; maps of two different films: "
            f"{figures['pair_rank']:.2f}).",
        ),
        Verdict(
            "Does the logit rest on what they mark?",
            fall["map"] > max(fall["random"], fall["edges"]),
            f"Without the hottest {REMOVED} % of the film the logit falls by {fall['map']:.2f}, "
            f"without the strongest edges by {fall['edges']:.2f}, without random parts by "
            f"{fall['random']:.2f}.",
        ),
        Verdict(
            "Do they stay off the border?",
            figures["border_energy"] < figures["border_area"],
            f"{_percent(figures['border_energy'])} of the map lie in the outer tenth, which is "
            f"{_percent(figures['border_area'])} of the film.",
        ),
        Verdict(
            "Does the model need the centre of the film?",
            figures["auc_centre_black_low"] <= CHANCE,
            f"With the centre blacked out its AUC is {figures['auc_centre_black']:.2f} "
            f"({figures['auc_centre_black_low']:.2f} to {figures['auc_centre_black_high']:.2f}).",
        ),
        Verdict(
            "Does another seed look at the same places?",
            figures["second_seed_rank"] > figures["second_seed_pair_rank"],
            f"Maps of two trainings correlate {figures['second_seed_rank']:.2f} on the same film, "
            f"{figures['second_seed_pair_rank']:.2f} on different ones.",
        ),
        Verdict(
            "Does the other model look at the same places?",
            figures["other_model_rank"] > figures["other_model_pair_rank"],
            f"Maps of the two models correlate {figures['other_model_rank']:.2f} on the same film, "
            f"{figures['other_model_pair_rank']:.2f} on different ones.",
        ),
    ]
    if "energy_inside" in figures:
        times = figures["energy_inside"] / figures["mask_area"]
        found.append(
            Verdict(
                "Do they mark the opacity, where it is known?",
                times > 1 and figures["pointing_game"] > figures["mask_area"],
                f"{_percent(figures['energy_inside'])} of the map lie inside the opacity, "
                f"{times:.1f} times its share of the film; the hottest point does on "
                f"{_percent(figures['pointing_game'])} of the films.",
            )
        )
    return found


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
