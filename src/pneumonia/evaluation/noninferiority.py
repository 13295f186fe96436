"""Whether one model is not worse than another: the rule by which a version becomes champion.

A test of non-inferiority, twice: on the validation images as they are, and in the mean over the
shifts of `evaluation.shifts` that models are chosen by. Each time the interval of the difference in
AUC, candidate less champion, paired by image and clustered by patient (`evaluation.delong`), at
`level`, two-sided, has to begin at -`margin` or above. Both have to hold, so the level needs no
correction for there being two (Berger 1982, Technometrics 24:295).

Images as they are alone would decide too little: among good models their AUC saturates, and of two
that make no error the interval is [0, 0].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumonia.core.config import EvaluateParams, PromotionParams
from pneumonia.evaluation.robustness import (
    NOT_IN_MEAN,
    UNSHIFTED,
    ShiftedLogits,
    draw,
    shifted_logits,
)
from pneumonia.images.decoding import decode, encode_png
from pneumonia.inference.predictor import Graph
from pneumonia.stats.delong import paired_mean_auc

Logits = NDArray[np.float32]


@dataclass(frozen=True)
class Scored:
    """What a graph answers to validation images.

    Attributes:
        sha256: of the graph.
        plain: to all of them as they are, (N,).
        shifted: to those that robustness is measured on, (C, n), a row a graded condition.
    """

    sha256: str
    plain: Logits
    shifted: Logits


def write_scored(path: Path, scored: dict[str, Scored]) -> None:
    """Write the answers of each model to one .npz file; equal answers give equal bytes."""
    arrays = {
        f"{model}.{name}": np.asarray(value)
        for model, answers in scored.items()
        for name, value in vars(answers).items()
    }
    with path.open("wb") as file:
        np.savez(file, **arrays)


def read_scored(path: Path, model: str) -> Scored:
    """Read the answers of one model from a file of `write_scored`."""
    with np.load(path) as arrays:
        sha256, plain, shifted = (
            arrays[f"{model}.{name}"] for name in ("sha256", "plain", "shifted")
        )
    return Scored(str(sha256), plain, shifted)


@dataclass(frozen=True)
class Difference:
    """A candidate held against the champion.

    Attributes:
        images, patients, conditions: how many; the AUCs are means over the conditions.
        candidate, champion: AUC, 0 to 1.
        difference: candidate less champion.
        low, high: interval of the difference.
    """

    images: int
    patients: int
    conditions: int
    candidate: float
    champion: float
    difference: float
    low: float
    high: float


def compare(
    labels: NDArray[np.int64],
    patients: NDArray[np.str_],
    candidate: Logits,
    champion: Logits,
    level: float,
) -> Difference:
    """Hold one model against another.

    Args:
        labels: (N,), 0 or 1, both present.
        patients: (N,), who is on an image.
        candidate, champion: logits, (C, N), a row a condition.
        level: of the interval.
    """
    found = paired_mean_auc(labels, champion, candidate, patients)
    counted = len(labels), len(np.unique(patients)), len(candidate)
    return Difference(*counted, found.second, found.first, found.difference, *found.interval(level))


def not_worse(differences: Sequence[Difference], params: PromotionParams) -> bool:
    """The rule; see above."""
    return all(one.low >= -params.margin for one in differences)


def of_validation(
    sha256: str, logits: Logits, rows: pd.DataFrame, seen: ShiftedLogits, model: str
) -> Scored:
    """What is compared of a model's answers to the images of several splits.

    Args:
        sha256: of its graph.
        logits: to unshifted images, (N,).
        rows: of the manifest, of these.
        seen: the model among others.
        model: its name there.
    """
    graded = [shift not in (UNSHIFTED, NOT_IN_MEAN) for shift, _ in seen.conditions]
    is_val = (rows["split"] == "val").to_numpy()
    drawn = (seen.rows["split"] == "val").to_numpy()
    return Scored(sha256, logits[is_val], seen.logits[model][np.array(graded)][:, drawn])


def score(
    graph: Graph, rows: pd.DataFrame, images: NDArray[np.uint8], params: EvaluateParams
) -> Scored:
    """Run a graph for images of this size or of a smaller one.

    Args:
        graph: to run.
        rows: of the manifest, validation images.
        images: uint8, (N, S, S, 1), of those rows.
        params: which images are shifted how.
    """
    sized = graph if graph.size == images.shape[1] else _Shrinking(graph)
    logits = sized.run(images)[0]
    one = {"one": sized}
    seen = shifted_logits(one, {"one": logits}, rows, images, params.shift_images, params.seed)
    return of_validation(graph.sha256, logits, rows, seen, "one")


def differences(
    candidate: Scored,
    champion: Graph,
    rows: pd.DataFrame,
    images: NDArray[np.uint8],
    params: EvaluateParams,
    level: float,
) -> tuple[Difference, Difference]:
    """On the images as they are, and on those that robustness is measured on, shifted.

    Args:
        candidate: what it answered.
        champion: its graph, not for larger images than these. The candidate's own, served by other
            code, is not run again.
        rows: of the manifest, validation images.
        images: uint8, (N, S, S, 1), of those rows.
        params: which images are shifted how.
        level: of the intervals.
    """
    same = champion.sha256 == candidate.sha256
    theirs = candidate if same else score(champion, rows, images, params)
    drawn = rows[draw(rows, params.shift_images, params.seed)]

    def held(table: pd.DataFrame, ours: Logits, others: Logits) -> Difference:
        patients = table["patient_id"].to_numpy(dtype=str)
        return compare(table["label"].to_numpy(), patients, ours, others, level)

    return (
        held(rows, candidate.plain[None], theirs.plain[None]),
        held(drawn, candidate.shifted, theirs.shifted),
    )


class _Shrinking(Graph):
    """A graph for smaller images, that gets these made smaller as its served model would do it."""

    def __init__(self, graph: Graph) -> None:
        self._graph, self.sha256, self.size = graph, graph.sha256, graph.size

    def run(
        self, images: NDArray[np.uint8], on_one_core: bool = False
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """As `Graph.run`, for images of any size."""
        squares = [decode(encode_png(image[..., 0]), self.size).pixels for image in images]
        return self._graph.run(np.stack(squares)[..., None], on_one_core)
